#include <algorithm>

#include "base/parallel.h"
#include "cpu/packed/reference.h"
#include "cpu/packed/test_row_counts.h"
#include "cpu/packed_dequantized/packed_dequantized.h"
#include "cpu/packed_grad/reference.h"
#include "testing/held.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

/// A quantized weight, and the one of 16-bit codes that it must be multiplied as.
struct Pair {
  PackedWeight quantized, plain;
  std::vector<float> values;

  explicit Pair(const WeightView& view)
      : quantized(pack_weight(view, Compute::kBf16Dequantized)),
        values(packed_values_reference(view, quantized)) {
    std::vector<uint16_t> halves(values.size());
    std::transform(values.begin(), values.end(), halves.begin(), to_bf16);
    WeightView stored;
    stored.format = WeightFormat::kBf16;
    stored.rows = view.rows;
    stored.cols = view.cols;
    stored.codes = reinterpret_cast<const uint8_t*>(halves.data());
    plain = pack_weight(stored, Compute::kBf16);
  }
};

/// What some kernels make of columns [col, col + cols), in both forms alike but for the sign of
/// zeros.
void check_columns(Checks& checks, const Pair& pair, const DequantizeKernels& kernels, size_t tile,
                   size_t col, size_t cols) {
  const size_t count = 1 + tile % (pair.plain.tiles - tile), values = cols * 16;
  std::vector<uint16_t> made(count * values, 0xffff);
  kernels.tiles(pair.quantized, {tile, count, col, cols, reinterpret_cast<uint8_t*>(made.data()),
                                 values * sizeof(uint16_t)});
  for (size_t t = 0; t < count; ++t) {
    const auto* const want =
        reinterpret_cast<const uint16_t*>(pair.plain.tile(tile + t)) + col * 16;
    for (size_t i = 0; i < values; ++i)
      checks.that("tiles", from_bf16(made[t * values + i]) == from_bf16(want[i]));
  }
}

/// Each of the kernels here: whole tiles, and some columns of each.
void check_tiles(Checks& checks, const Pair& pair) {
  std::vector<const DequantizeKernels*> all;
#define DEQUANTIZE_KERNELS(isa, name) \
  if (runs_here(isa)) all.push_back(&name);
#include "cpu/packed_dequantized/kernels.inc"
#undef DEQUANTIZE_KERNELS
  const size_t padded = pair.plain.padded_cols();
  for (const DequantizeKernels* kernels : all)
    for (size_t tile = 0; tile < pair.plain.tiles; ++tile) {
      check_columns(checks, pair, *kernels, tile, 0, padded);
      for (size_t col = 0; col < padded; col += 32)
        check_columns(checks, pair, *kernels, tile, col, 32);
    }
}

/// One result in double, from x rounded to bf16.
Sum product_reference(const Pair& pair, const float* x, size_t row) {
  const size_t cols = pair.plain.cols;
  Sum sum;
  for (size_t k = 0; k < cols; ++k)
    sum.add(double{pair.values[row * cols + k]} * bf16_reference(x[k]));
  return sum;
}

void check_values(Checks& checks, const Pair& pair) {
  const size_t m = 3, rows = pair.plain.rows, cols = pair.plain.cols;
  const Buffer x(m * cols, 1), bias(rows, 2);
  Buffer y(m * rows, 3);
  packed_linear(pair.quantized, m, x.data(), bias.data(), y.data());
  for (size_t i = 0; i < m * rows; ++i) {
    Sum want = product_reference(pair, x.data() + i / rows * cols, i % rows);
    want.add(bias[i % rows]);
    checks.near("y", y[i], want.value, ulps_of(cols), want.scale());
  }
}

/// The bits of the weight of 16-bit codes, for any number of rows and threads, held or not.
void check_bits(Checks& checks, const Pair& pair, size_t most) {
  const size_t rows = pair.plain.rows, cols = pair.plain.cols;
  const Held x(most * cols, 1);
  const Buffer bias(rows, 2);
  Buffer want(most * rows, 3), y(most * rows, 4);
  set_thread_count(1);
  packed_linear(pair.plain, most, x.floats(), bias.data(), want.data());
  for (size_t threads = 1; threads <= 3; ++threads) {
    set_thread_count(threads);
    for (size_t m = 1; m <= most; m += m < 18 ? 1 : 11) {
      const size_t skip = most - m;
      packed_linear(pair.quantized, m, x.floats() + skip * cols, bias.data(), y.data());
      checks.same("y", y.data(), want.data() + skip * rows, m * rows);
    }
    HeldResult held(most * rows);
    packed_linear(pair.quantized, most, x.data(), bias.data(), held.data());
    held.check(checks, "held", want.data());
  }
}

/// Ranges of tiles and rows on one thread.
void check_ranges(Checks& checks, const Pair& pair, size_t most) {
  const PackedWeight& plain = pair.plain;
  const size_t ldy = plain.tiles * 16 + 3;
  const Buffer x(most * plain.cols, 1), bias(plain.rows, 2);
  Buffer want(most * ldy, 3), y(most * ldy, 3);
  for (const size_t count : {size_t{1}, size_t{5}, most})
    for (size_t tile = 0; tile < plain.tiles; tile += 3) {
      const PackedRange range = {most - count, count, tile, plain.tiles - tile};
      const PreparedRows rows = prepare_rows(pair.quantized, most, x.data(), plain.cols);
      packed_product(pair.quantized, rows, range, bias.data(), y.data(), ldy);
      packed_product(plain, rows, range, bias.data(), want.data(), ldy);
      for (size_t i = 0; i < count; ++i)
        checks.same("range", y.data() + i * ldy, want.data() + i * ldy, plain.rows - tile * 16);
    }
}

/// Layers that share x, and others between them.
void check_layers(Checks& checks) {
  using F = WeightFormat;
  const size_t cols = 160, m = 37;
  const RandomWeight a({F::kNf4, 300, cols, 32, false, false});
  const RandomWeight b({F::kInt4, 37, cols, 40, false, true});
  const RandomWeight c({F::kBf16, 64, cols, 0, false, false});
  std::vector<PackedWeight> weights;
  for (const RandomWeight* random : {&a, &a, &b, &c, &a})
    weights.push_back(pack_weight(random->view, Compute::kBf16Dequantized));
  checks.that("no codes", weights[3].compute == Compute::kBf16);
  const Buffer x(m * cols, 1);
  std::vector<PackedLayer> layers;
  std::vector<Buffer> results;
  for (const PackedWeight& w : weights) results.emplace_back(m * w.rows, 3);
  for (size_t i = 0; i < weights.size(); ++i)
    layers.push_back({&weights[i], nullptr, results[i].data()});
  packed_linears(layers.data(), layers.size(), m, x.data());
  for (const PackedLayer& layer : layers) {
    Buffer want(m * layer.weight->rows, 4);
    packed_linear(*layer.weight, m, x.data(), nullptr, want.data());
    checks.same("layers", layer.y.floats(), want.data(), m * layer.weight->rows);
  }
}

void check_all(Checks& checks) {
  using F = WeightFormat;
  std::vector<WeightCase> cases = packed_cases();
  for (const size_t group : {9, 15, 40})  // lines begin within pairs, within groups
    cases.push_back({F::kInt4, 50, group * 5, group, false, group == 15});
  cases.push_back({F::kInt8, 35, 13 * 6, 13, false, true});
  cases.push_back({F::kInt4, 40, 9 * 246, 9, false, false});  // cut within a group
  for (const WeightCase& c : cases) {
    const RandomWeight random(c);
    const Pair pair(random.view);
    if (!is_dequantized(pair.quantized)) continue;  // stored or packed in 16 bits
    check_tiles(checks, pair);
    check_values(checks, pair);
    check_bits(checks, pair, 40);
    check_ranges(checks, pair, 40);
  }
  for (const WeightCase& c : row_count_cases()) {
    const RandomWeight random(c);
    const Pair pair(random.view);
    const Buffer x(kRowCounts.back() * c.cols, 1);
    check_row_counts(checks, pair.quantized, x.data(), ulps_of(c.cols), [&](size_t i, size_t row) {
      return product_reference(pair, x.data() + i * c.cols, row);
    });
  }
  // More tiles than are made at a time; more columns than stay in the registers of tiles.
  const RandomWeight large({F::kNf4, 1100, 2624, 64, true, false});
  const Pair pair(large.view);
  checks.that("several times", pair.plain.tiles > dequantized_at_once(pair.quantized));
  check_bits(checks, pair, 70);
  check_ranges(checks, pair, 70);
  check_layers(checks);
}

}  // namespace

int main() { return run(check_all); }
