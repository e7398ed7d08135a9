#include "base/parallel.h"
#include "base/scratch.h"
#include "cpu/gemm/reference.h"
#include "cpu/packed/packed.h"
#include "cpu/packed/test_row_counts.h"
#include "cpu/packed_grad/packed_grad.h"
#include "cpu/packed_grad/reference.h"
#include "testing/held.h"
#include "testing/testing.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

/// dx from rows [tile * 16, (tile + tiles) * 16) of the weight, against sums in double.
void check_values(Checks& checks, const WeightView& view, const PackedWeight& weight, size_t m,
                  size_t tile, size_t tiles) {
  const size_t first = tile * 16, n = std::min(tiles * 16, view.rows - first), k = view.cols;
  const size_t ld = n + 3;
  const std::vector<float> w = packed_values_reference(view, weight);
  const Buffer dy(m * ld, 1);
  Buffer dx(m * k, 2);
  packed_grad_input(weight, {m, dy.data(), ld, tile, tiles, dx.data(), false});
  std::vector<float> rounded(n);
  for (size_t i = 0; i < m; ++i) {
    for (size_t j = 0; j < n; ++j) rounded[j] = bf16_reference(dy[i * ld + j]);
    for (size_t c = 0; c < k; ++c) {
      const Sum want = dot_reference(n, rounded.data(), 1, w.data() + first * k + c, k);
      checks.near("dx", dx[i * k + c], want.value, ulps_of(n), want.scale());
    }
  }
  const std::vector<float> once(dx.data(), dx.data() + m * k);
  packed_grad_input(weight, {m, dy.data(), ld, tile, tiles, dx.data(), true});
  for (size_t i = 0; i < m * k; ++i) checks.that("accumulated", dx[i] == once[i] + once[i]);
}

/// dy in bf16: as its values in float32.
void check_held(Checks& checks, const PackedWeight& weight, size_t m) {
  const size_t n = weight.rows, k = weight.cols;
  const Held dy(m * n, 1);
  Buffer dx(m * k, 2), want(m * k, 3);
  packed_grad_input(weight, {m, dy.floats(), n, 0, weight.tiles, want.data(), false});
  packed_grad_input(weight, {m, dy.data(), n, 0, weight.tiles, dx.data(), false});
  checks.same("held dy", dx.data(), want.data(), m * k);
}

/// The same bits for every number of rows and of threads.
void check_bits(Checks& checks, const PackedWeight& weight) {
  const size_t most = 150, n = weight.rows, k = weight.cols;
  const Buffer dy(most * n, 1);
  Buffer dx(most * k, 2), want(most * k, 3);
  set_thread_count(1);
  packed_grad_input(weight, {most, dy.data(), n, 0, weight.tiles, want.data(), false});
  for (size_t threads = 1; threads <= 3; ++threads) {
    set_thread_count(threads);
    for (const size_t m : {1, 2, 15, 16, 17, 33, 49, 64, 65, 97, 150}) {
      const size_t skip = most - m;
      packed_grad_input(weight, {m, dy.data() + skip * n, n, 0, weight.tiles, dx.data(), false});
      checks.same("any m, any threads", dx.data(), want.data() + skip * k, m * k);
    }
  }
}

size_t round_up(size_t n, size_t step) { return (n + step - 1) / step * step; }

/// Room for a panel or a block of some kernels.
void* room(Scratch slot, size_t values, size_t element) {
  return scratch(slot, round_up(values * element, sizeof(float)) / sizeof(float));
}

/// The kernels that run here, best first.
std::vector<const PackedGradKernels*> kernels_of_machine() {
  std::vector<const PackedGradKernels*> found;
#define PACKED_GRAD_KERNELS(required, name) \
  if (runs_here(required)) found.push_back(&name);
#include "cpu/packed_grad/kernels.inc"
#undef PACKED_GRAD_KERNELS
  return found;
}

/// A panel of the weight by 17 rows of dy, by every kernel: a machine chooses one of them alone.
void check_kernels(Checks& checks, const WeightView& view, const PackedWeight& weight) {
  const size_t m = 17, width = 32, n = std::min(view.rows, kGradDepth), ld = n + 3;
  const size_t cols = std::min(weight.padded_cols(), kGradCols);
  const size_t wide = round_up(cols, 16), depth = round_up(n, kGradStep);
  const std::vector<float> w = packed_values_reference(view, weight);
  const Buffer dy(m * ld, 1);
  std::vector<float> rounded(m * n), sums(wide * width), turned(16 * kGradRows);
  for (size_t i = 0; i < m * n; ++i) rounded[i] = bf16_reference(dy[i / n * ld + i % n]);
  for (const PackedGradKernels* kernels : kernels_of_machine()) {
    void* const panel = room(Scratch::kDecoded, kGradCols * kGradDepth, kernels->element);
    void* const block = room(Scratch::kGradRows, width * depth, kernels->element);
    kernels->decode(weight, {0, cols, 0, round_up(n, 16) / 16}, panel);
    kernels->pack({dy.data(), ld, m, width, n}, block);
    kernels->product({wide, width, depth, panel, block, sums.data(), width, false});
    for (size_t col = 0; col < cols; ++col) {
      const size_t in_group = col % weight.group_stride;
      const size_t k = col / weight.group_stride * weight.group + in_group;
      if (in_group >= weight.group || k >= view.cols) continue;
      for (size_t i = 0; i < m; ++i) {
        const Sum want = dot_reference(n, rounded.data() + i * n, 1, w.data() + k, view.cols);
        checks.near("sum", sums[col * width + i], want.value, ulps_of(n), want.scale());
      }
    }
    kernels->transpose(sums.data(), width, turned.data());
    for (size_t i = 0; i < 256; ++i)
      checks.that("turned", turned[i / 16 * kGradRows + i % 16] == sums[i % 16 * width + i / 16]);
  }
}

void check_all(Checks& checks) {
  using F = WeightFormat;
  std::vector<WeightCase> cases = weight_cases();
  for (const F format : {F::kBf16, F::kInt8, F::kInt4, F::kNf4})
    for (const size_t cols : {64, 320, 600}) {
      const size_t group = cols % 64 == 0 ? 64 : 40;
      cases.push_back({format, 77, cols, group, format == F::kNf4, format == F::kInt4});
    }
  for (const WeightCase& c : cases) {
    const RandomWeight random(c);
    for (const Compute compute : {Compute::kBf16, Compute::kInt8, Compute::kBf16Dequantized}) {
      if (c.format == F::kF32) continue;  // has no packed form
      const PackedWeight weight = pack_weight(random.view, compute);
      check_values(checks, random.view, weight, 5, 0, weight.tiles);
      check_kernels(checks, random.view, weight);
      if (weight.tiles > 2) check_values(checks, random.view, weight, 70, 1, weight.tiles - 2);
      check_bits(checks, weight);
      check_held(checks, weight, 33);
    }
  }
  for (const WeightCase& c : row_count_cases()) {
    if (c.format == F::kF32) continue;
    const RandomWeight random(c);
    const PackedWeight weight = pack_weight(random.view, Compute::kBf16);
    for (const size_t m : kRowCounts) check_values(checks, random.view, weight, m, 0, weight.tiles);
  }
  // More rows than are decoded at a time, and more rows of dy than share them.
  const RandomWeight tall({F::kInt4, 600, 96, 32, false, false});
  const PackedWeight weight = pack_weight(tall.view, Compute::kBf16);
  check_values(checks, tall.view, weight, 530, 0, weight.tiles);
}

}  // namespace

int main() { return run(check_all); }
