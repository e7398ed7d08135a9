#include <algorithm>

#include "base/parallel.h"
#include "cpu/packed/kernels.h"
#include "cpu/packed/reference.h"
#include "cpu/packed/test_row_counts.h"
#include "testing/testing.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

struct NamedKernels {
  const PackedKernels* kernels;
  bool fuses;  // has a fused multiply-add
};

/// All that run here, best first.
std::vector<NamedKernels> kernels_of_machine() {
  std::vector<NamedKernels> found;
#define PACKED_KERNELS(compute, required, name) \
  if (compute == Compute::kInt8 && runs_here(required)) found.push_back({&name, (required) != 0});
#include "cpu/packed/kernels.inc"
#undef PACKED_KERNELS
  return found;
}

/// Rows in the form of the kernels that take so few of them: those of a block side by side, four
/// columns at a time.
class RowsOf {
 public:
  RowsOf(const PackedWeight& w, const PreparedRows& rows)
      : w_(w), rows_(rows), most_(packed_kernels(w, rows.m).row_block) {}

  int value(size_t row, size_t group, size_t k) const {
    const size_t col = group * w_.group_stride + k;
    const size_t place = (col / 4 * side(row) + row % most_) * 4 + col % 4;
    return static_cast<const int8_t*>(rows_.values)[first(row) * rows_.stride + place];
  }
  float scale(size_t row, size_t group) const { return rows_.scales[factor(row, group)]; }
  int start(size_t row, size_t group) const { return rows_.starts[factor(row, group)]; }

 private:
  size_t first(size_t row) const { return row / most_ * most_; }
  size_t side(size_t row) const { return std::min(most_, rows_.m - first(row)); }
  size_t factor(size_t row, size_t group) const {
    return first(row) * w_.groups + group * side(row) + row % most_;
  }

  const PackedWeight& w_;
  const PreparedRows& rows_;
  size_t most_;
};

/// Rows of x in int8, as packed.h says.
void check_prepared(Checks& checks, const PackedWeight& w, size_t m, const float* x) {
  const PreparedRows rows = prepare_rows(w, m, x, w.cols);
  const RowsOf prepared(w, rows);
  checks.that("stride", rows.m == m && rows.stride == w.padded_cols());
  for (size_t i = 0; i < m * w.groups; ++i) {
    const size_t row = i / w.groups, group = i % w.groups, begin = group * w.group;
    const size_t count = std::min(w.group, w.cols - begin);
    float most = 0;
    int sum = 0;
    for (size_t k = 0; k < count; ++k)
      most = std::fmax(most, std::fabs(x[row * w.cols + begin + k]));
    checks.that("scale", prepared.scale(row, group) == most / 127);
    for (size_t k = 0; k < w.group_stride; ++k) {
      const int value = prepared.value(row, group, k);
      sum += value;
      const double want = k < count && most > 0 ? x[row * w.cols + begin + k] * 127.0 / most : 0;
      // Half a step, and the rounding of four operations on a number of at most 127.
      const double limit = 0.5 + 127 * 2 * std::numeric_limits<float>::epsilon();
      checks.that("nearest", std::fabs(value - want) <= (k < count ? limit : 0));
    }
    const int zero_point = w.has_zeros ? 1 : w.code == PackedCode::kFourBit ? 8 : 128;
    checks.that("start", prepared.start(row, group) == -sum * zero_point);
  }
}

/// One result in double from the rounded rows.
Sum product_reference(const PackedWeight& w, const RowsOf& x, size_t m, size_t row) {
  Sum total;
  for (size_t g = 0; g < w.groups; ++g) {
    double sum = 0;
    for (size_t k = 0; k < w.group_stride; ++k)
      sum += packed_unscaled(w, row, g, k) * x.value(m, g, k);
    total.add(sum * packed_scale(w, row, g) * x.scale(m, g));
  }
  return total;
}

void check_values(Checks& checks, const PackedWeight& w) {
  const size_t m = 3;
  const Buffer x(m * w.cols, 1), bias(w.rows, 2);
  Buffer y(m * w.rows, 3);
  check_prepared(checks, w, m, x.data());
  packed_linear(w, m, x.data(), bias.data(), y.data());
  const PreparedRows rows = prepare_rows(w, m, x.data(), w.cols);
  for (size_t i = 0; i < m * w.rows; ++i) {
    Sum want = product_reference(w, RowsOf(w, rows), i / w.rows, i % w.rows);
    want.add(bias[i % w.rows]);
    checks.near("y", y[i], want.value, ulps_of(3 * w.groups), want.scale());
  }
}

/// Any kernels, any number of rows, any tiles: the bits of the whole product.
void check_ranges(Checks& checks, const PackedWeight& w) {
  const size_t most = 64, ldy = w.tiles * 16 + 3;
  const Buffer x(most * w.cols, 1), bias(w.rows, 2);
  Buffer want(most * w.rows, 3), y(most * ldy, 4);
  packed_linear(w, most, x.data(), bias.data(), want.data());
  for (const NamedKernels& named : kernels_of_machine()) {
    if (named.fuses != kernels_of_machine()[0].fuses) continue;
    const auto takes = named.kernels->takes;
    if (takes != nullptr && !takes(w, most) && !takes(w, 16)) continue;
    const PreparedFor prepared(*named.kernels, w, most, x.data());
    const PreparedRows& rows = prepared.rows;
    for (const auto product : {named.kernels->few, named.kernels->many})
      for (size_t count : {1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 25, 64})
        for (size_t tile = 0; tile < w.tiles; ++tile) {
          const size_t first = (count * 7 + tile) % (most - count + 1);
          const size_t tiles = 1 + count % (w.tiles - tile);
          const size_t cols = std::min(tiles * 16, w.rows - tile * 16);
          product(w, {rows, {first, count, tile, tiles}, bias.data(), y.data(), ldy});
          for (size_t i = 0; i < count; ++i)
            checks.same("any range", y.data() + i * ldy,
                        want.data() + (first + i) * w.rows + tile * 16, cols);
        }
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
    for (size_t m : {1, 2, 5, 12, 13, 64, 65, 97, 200}) {
      const size_t skip = most - m;
      packed_linear(w, m, x.data() + skip * w.cols, nullptr, y.data());
      checks.same("any threads", y.data(), want.data() + skip * w.rows, m * w.rows);
    }
  }
}

/// More rows than fill the cache are taken in parts: every row as by itself.
void check_parts(Checks& checks, const PackedWeight& w) {
  const size_t most = 261;
  const Buffer x(most * w.cols, 1);
  Buffer y(most * w.rows, 3), want(w.rows, 4);
  const PreparedRows rows = prepare_rows(w, most, x.data(), w.cols);
  packed_product(w, rows, {0, most, 0, w.tiles}, nullptr, y.data(), w.rows);
  for (size_t row : {0, 130, 131, 260}) {
    packed_linear(w, 1, x.data() + row * w.cols, nullptr, want.data());
    checks.same("part", y.data() + row * w.rows, want.data(), w.rows);
  }
}

/// What is not finite shows; what is too small to count is zero.
void check_special(Checks& checks, const PackedWeight& w) {
  const float huge = 3e38f, tiny = 1e-40f;
  for (float special : {INFINITY, -INFINITY, std::nanf("")}) {
    std::vector<float> x(2 * w.cols, 1.0f), y(2 * w.rows);
    x[w.cols / 2] = special;
    packed_linear(w, 2, x.data(), nullptr, y.data());
    checks.that("not finite", std::isnan(y[0]) && std::isnan(y[w.rows - 1]));
    checks.that("of its row alone", std::isfinite(y[w.rows]));
  }
  for (float value : {0.0f, tiny, huge}) {
    const std::vector<float> x(w.cols, value);
    check_prepared(checks, w, 1, value == tiny ? std::vector<float>(w.cols).data() : x.data());
    const PreparedRows rows = prepare_rows(w, 1, x.data(), w.cols);
    checks.that("zeros", (RowsOf(w, rows).value(0, 0, 0) == 0) == (value < 1));
  }
}

/// The largest sums: no intermediate of any instruction set may saturate.
void check_extremes(Checks& checks, WeightFormat format, size_t group) {
  const size_t rows = 16, cols = 2 * group;
  const std::vector<uint8_t> codes(rows * cols, 255);
  const std::vector<float> scales(2 * rows, 1.0f);
  for (uint8_t zero : {0, format == WeightFormat::kInt4 ? 15 : 255})
    for (float sign : {1.0f, -1.0f}) {
      const std::vector<uint8_t> zeros(2 * rows, zero);
      WeightView view{format, rows, cols, codes.data(), group, scales.data(), {}, zeros.data()};
      const PackedWeight w = pack_weight(view, Compute::kInt8);
      const std::vector<float> x(48 * cols, 127 * sign);
      std::vector<float> y(48 * rows);
      const float code = format == WeightFormat::kInt4 ? 15 : 255;
      const float want = (code - zero) * 127 * sign * static_cast<float>(cols);
      for (size_t m : {1, 14, 48}) {
        packed_linear(w, m, x.data(), nullptr, y.data());
        for (size_t i = 0; i < m * rows; ++i) checks.that("extreme", y[i] == want);
      }
    }
}

void check_all(Checks& checks) {
  for (const WeightCase& c : row_count_cases()) {
    const RandomWeight weight(c);
    const PackedWeight w = pack_weight(weight.view, Compute::kInt8);
    if (w.compute != Compute::kInt8) continue;
    const Buffer x(kRowCounts.back() * w.cols, 1);
    check_row_counts(checks, w, x.data(), ulps_of(3 * w.groups), [&](size_t i, size_t row) {
      // Alone, a row is in the order of its columns.
      const PreparedRows prepared = prepare_rows(w, 1, x.data() + i * w.cols, w.cols);
      return product_reference(w, RowsOf(w, prepared), 0, row);
    });
  }
  for (const WeightCase& c : packed_cases()) {
    const RandomWeight weight(c);
    const PackedWeight w = pack_weight(weight.view, Compute::kInt8);
    if (w.compute != Compute::kInt8) continue;
    check_values(checks, w);
    check_ranges(checks, w);
  }
  using F = WeightFormat;
  for (F format : {F::kInt4, F::kInt8}) {
    // Large enough for the threads to be woken, and for panels of several pieces.
    const RandomWeight wide({format, 600, 1024, 64, false, format == F::kInt4});
    check_threads(checks, pack_weight(wide.view, Compute::kInt8));
    const RandomWeight deep({format, 40, 20000, 20000, false, false});
    check_ranges(checks, pack_weight(deep.view, Compute::kInt8));
    check_parts(checks, pack_weight(deep.view, Compute::kInt8));
    check_special(checks, pack_weight(wide.view, Compute::kInt8));
    check_extremes(checks, format, 32);
    check_extremes(checks, format, 128);
  }
}

}  // namespace

int main() { return run(check_all); }
