#include <algorithm>

#include "base/parallel.h"
#include "cpu/packed/kernels.h"
#include "cpu/packed/reference.h"
#include "cpu/packed/test_row_counts.h"
#include "testing/held.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

/// All kernels for a weight that run here, best first.
std::vector<const PackedKernels*> kernels_for(const PackedWeight& w) {
  std::vector<const PackedKernels*> found;
#define PACKED_KERNELS(compute, required, name) \
  if (compute == Compute::kBf16 && runs_here(required)) found.push_back(&name);
#include "cpu/packed/kernels.inc"
#undef PACKED_KERNELS
  const auto refuses = [&](const PackedKernels* kernels) {
    return kernels->takes != nullptr && !kernels->takes(w, 64);
  };
  found.erase(std::remove_if(found.begin(), found.end(), refuses), found.end());
  return found;
}

/// One result in double, from x rounded to bf16. Zero points are a sum of their own, as
/// packed_weight.h has it: its size counts for the rounding errors.
Sum product_reference(const PackedWeight& w, const float* x, size_t row) {
  const float middle = w.code == PackedCode::kFourBit ? 8 : 128;
  Sum sum;
  for (size_t g = 0; g < w.groups; ++g) {
    const double scale = w.code == PackedCode::kSixteenBit ? 1 : packed_scale(w, row, g);
    const double shift = w.has_zeros ? middle - static_cast<float>(packed_zero(w, row, g)) : 0;
    double total = 0;
    for (size_t k = g * w.group; k < std::min(w.cols, (g + 1) * w.group); ++k) {
      const double value = from_bf16(to_bf16(x[k]));
      total += value;
      sum.add((packed_unscaled(w, row, g, k - g * w.group) - shift) * scale * value);
    }
    sum.add(shift * scale * total);
  }
  return sum;
}

void check_values(Checks& checks, const PackedWeight& w) {
  const size_t m = 3;
  const Buffer x(m * w.cols, 1), bias(w.rows, 2);
  Buffer y(m * w.rows, 3);
  packed_linear(w, m, x.data(), bias.data(), y.data());
  for (size_t i = 0; i < m * w.rows; ++i) {
    Sum want = product_reference(w, x.data() + i / w.rows * w.cols, i % w.rows);
    want.add(bias[i % w.rows]);
    checks.near("y", y[i], want.value, ulps_of(w.cols + 3 * w.groups), want.scale());
  }
}

/// x and y held as bf16: as their values in float32, y rounded.
void check_held(Checks& checks, const PackedWeight& w) {
  for (const size_t m : {1, 5, 70}) {
    const Held x(m * w.cols, 1);
    const Buffer bias(w.rows, 2);
    Buffer want(m * w.rows, 3);
    HeldResult y(m * w.rows);
    packed_linear(w, m, x.floats(), bias.data(), want.data());
    packed_linear(w, m, x.data(), bias.data(), y.data());
    y.check(checks, "held", want.data());
  }
}

/// Few or many rows, any number of them, any tiles: the same bits.
void check_ranges(Checks& checks, const PackedWeight& w, const PackedKernels& kernels) {
  const size_t most = 64, ldw = w.rows, ldy = w.tiles * 16 + 3;
  const Buffer x(most * w.cols, 1), bias(w.rows, 2);
  const PreparedFor rows(kernels, w, most, x.data());
  Buffer want(most * ldw, 3), y(most * ldy, 4);
  kernels.many(w, {rows.rows, {0, most, 0, w.tiles}, bias.data(), want.data(), ldw});
  for (const auto product : {kernels.few, kernels.many})
    for (size_t count : {1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 16, 17, 25, 64})
      for (size_t tile = 0; tile < w.tiles; ++tile) {
        const size_t first = (count * 7 + tile) % (most - count + 1);
        const size_t tiles = 1 + count % (w.tiles - tile);
        const size_t cols = std::min(tiles * 16, w.rows - tile * 16);
        product(w, {rows.rows, {first, count, tile, tiles}, bias.data(), y.data(), ldy});
        for (size_t i = 0; i < count; ++i)
          checks.same("any range", y.data() + i * ldy, want.data() + (first + i) * ldw + tile * 16,
                      cols);
      }
}

/// Each of the kernels against the reference, not only those of the best instruction set.
void check_kernels(Checks& checks, const PackedWeight& w) {
  const Buffer x(2 * w.cols, 5);
  Buffer y(2 * w.rows, 6);
  for (const PackedKernels* kernels : kernels_for(w)) {
    const PreparedFor rows(*kernels, w, 2, x.data());
    kernels->many(w, {rows.rows, {0, 2, 0, w.tiles}, nullptr, y.data(), w.rows});
    for (size_t i = 0; i < 2 * w.rows; ++i) {
      const Sum want = product_reference(w, x.data() + i / w.rows * w.cols, i % w.rows);
      checks.near("many", y[i], want.value, ulps_of(w.cols + 3 * w.groups), want.scale());
    }
    check_ranges(checks, w, *kernels);
  }
}

void check_threads(Checks& checks, const PackedWeight& w) {
  const size_t most = 200;
  const Buffer x(most * w.cols, 1);
  Buffer want(most * w.rows, 3), y(most * w.rows, 4);
  set_thread_count(1);
  packed_linear(w, most, x.data(), nullptr, want.data());
  for (size_t threads = 1; threads <= 3; ++threads) {
    set_thread_count(threads);
    for (size_t m : {1, 2, 5, 8, 9, 16, 17, 64, 65, 97, 200}) {
      const size_t skip = most - m;
      packed_linear(w, m, x.data() + skip * w.cols, nullptr, y.data());
      checks.same("any threads", y.data(), want.data() + skip * w.rows, m * w.rows);
    }
  }
}

/// Products and sums around the smallest normal number, some of which tiles take as zeros: one row
/// alone has the bits that it has in a block of rows.
void check_tiny(Checks& checks, const PackedWeight& w) {
  const size_t most = 64;
  Buffer x(most * w.cols, 1);
  const float size = w.code == PackedCode::kSixteenBit ? 0x1p-117f : 0x1p-124f;  // codes are 2^-7
  for (size_t i = 0; i < most * w.cols; ++i) x[i] *= i % 3 == 0 ? size : size / 8;
  Buffer want(most * w.rows, 2), y(w.rows, 3);
  packed_linear(w, most, x.data(), nullptr, want.data());
  size_t zeros = 0;
  for (size_t i = 0; i < want.size(); ++i) zeros += want[i] == 0;
  checks.that("not all are lost", zeros < want.size() / 2);
  for (size_t row = 0; row < most; ++row) {
    packed_linear(w, 1, x.data() + row * w.cols, nullptr, y.data());
    checks.same("tiny", y.data(), want.data() + row * w.rows, w.rows);
  }
}

/// What float32 adds to a product counts below the normal numbers too, whatever the product does.
void check_tiny_update(Checks& checks, const PackedWeight& w) {
  const std::vector<float> x(64 * w.cols), low(64, 1e-20f), high(w.rows, 1e-19f);
  const LowRank update = {1, low.data(), high.data(), w.rows, 1};
  for (const size_t m : {1, 4, 5, 64}) {
    std::vector<float> y(m * w.rows);
    packed_linear(w, m, x.data(), nullptr, y.data(), &update);
    for (const float value : y) checks.that("tiny update", value == 1e-20f * 1e-19f && value > 0);
  }
}

/// What is not finite shows, in its row of x alone.
void check_special(Checks& checks, const PackedWeight& w) {
  for (float special : {INFINITY, -INFINITY, std::nanf("")}) {
    std::vector<float> x(2 * w.cols, 1.0f), y(2 * w.rows);
    x[w.cols / 2] = special;
    packed_linear(w, 2, x.data(), nullptr, y.data());
    checks.that("not finite", !std::isfinite(y[0]) && !std::isfinite(y[w.rows - 1]));
    checks.that("of its row alone", std::isfinite(y[w.rows]));
  }
}

/// No rows of x leave nothing to do, and no address to read from.
void check_no_rows(Checks& checks) {
  const RandomWeight random({WeightFormat::kNf4, 40, 64, 64, false, false});
  float* const nowhere = nullptr;
  for (const Compute compute : {Compute::kBf16, Compute::kInt8})
    packed_linear(pack_weight(random.view, compute), 0, nowhere, nullptr, nowhere);
  checks.that("no rows", true);
}

void check_all(Checks& checks) {
  for (const WeightCase& c : row_count_cases()) {
    const RandomWeight weight(c);
    const PackedWeight w = pack_weight(weight.view, Compute::kBf16);
    const Buffer x(kRowCounts.back() * w.cols, 1);
    check_row_counts(
        checks, w, x.data(), ulps_of(w.cols + 3 * w.groups),
        [&](size_t i, size_t row) { return product_reference(w, x.data() + i * w.cols, row); });
  }
  for (const WeightCase& c : packed_cases()) {
    const RandomWeight weight(c);
    const PackedWeight w = pack_weight(weight.view, Compute::kBf16);
    check_values(checks, w);
    check_held(checks, w);
    check_kernels(checks, w);
  }
  using F = WeightFormat;
  for (F format : {F::kNf4, F::kInt4, F::kInt8, F::kBf16}) {
    // Large enough for the threads to be woken, and for several panels.
    const RandomWeight wide({format, 600, 1024, 64, false, format == F::kInt4});
    check_threads(checks, pack_weight(wide.view, Compute::kBf16));
    const RandomWeight random({format, 40, 25600, 128, false, false});
    const PackedWeight deep = pack_weight(random.view, Compute::kBf16);
    check_kernels(checks, deep);
    check_held(checks, deep);
  }
  for (F format : {F::kNf4, F::kInt4, F::kInt8, F::kBf16}) {
    const RandomWeight random({format, 40, 256, 64, false, false});
    const PackedWeight weight = pack_weight(random.view, Compute::kBf16);
    check_special(checks, weight);
    check_tiny(checks, weight);
    check_tiny_update(checks, weight);
  }
  check_no_rows(checks);
}

}  // namespace

int main() { return run(check_all); }
