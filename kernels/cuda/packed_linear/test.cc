#include <cmath>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "cpu/packed/packed.h"
#include "cuda/packed_linear/products.h"
#include "cuda/packed_linear/test_endings.h"
#include "cuda/packed_linear/test_gradient.h"
#include "cuda/packed_linear/test_runs.h"
#include "cuda/testing/shifted.h"
#ifdef LLMKIT_EMULATED
#include "cuda/emulator/warpgroup.h"
#endif

using namespace llmkit;
using namespace llmkit::cuda::testing;

namespace {

void check_values(Checks& checks, const FullLayer& f, const Values& y) {
  const size_t rows = f.packed.weight().rows, cols = f.packed.weight().cols;
  const double ulps = matrix_ulps(cols);
  for (size_t m = 0; m < kMost; ++m)
    for (size_t n = 0; n < rows; ++n) {
      Sum want;
      for (size_t k = 0; k < cols; ++k)
        want.add(static_cast<double>(rounded(f.x[m * cols + k])) * f.values[n * cols + k]);
      want.add(f.bias[n]);
      want.add(f.residual[m * rows + n]);
      const Sum update = f.host_update.at(m, n);
      const double split = update.scale() * kSplitError / (ulps * kEpsilon);
      checks.near("y", y[m * rows + n], want.value + update.value, ulps, want.scale() + split);
    }
}

/// Any number of rows: the bits of the most rows.
void check_rows(Checks& checks, const FullLayer& f, const Values& most) {
  for (size_t m : kRowCounts) {
    const Values y = multiply(checks, f.layer, m, f.device_x.data());
    checks.same("any number of rows", y.data(), most.data(), y.size());
  }
}

/// Rows of x that are bf16 already, and y as bf16: the same bits, and those bits rounded.
void check_held(Checks& checks, const FullLayer& f, const Values& most) {
  const DeviceVector<uint16_t> x(halves_of(f.x));
  const std::vector<uint16_t> want = halves_of(most);
  for (size_t m : kRowCounts) {
    const Values y = multiply(checks, f.layer, m, x.data());
    checks.same("rows of bf16", y.data(), most.data(), y.size());
    DeviceVector<uint16_t> held(y.size());
    cuda::PackedLayer layer = f.layer;
    layer.y = held.data();
    const cuda::PackedLinearArgs args = {m, x.data(), &layer, 1};
    DeviceVector<char> workspace(cuda::packed_linears_workspace(args));
    expect(cuda::packed_linears(args, workspace.data(), stream()), "packed_linears");
    const std::vector<uint16_t> got = held.values();
    checks.that("y as bf16", std::memcmp(got.data(), want.data(), 2 * got.size()) == 0);
  }
}

/// A row of NaN stays alone.
void check_others(Checks& checks, const FullLayer& f, const Values& most) {
  const size_t rows = f.packed.weight().rows, cols = f.packed.weight().cols, spoilt = 3;
  Values x = f.x;
  for (size_t k = 0; k < cols; ++k) x[spoilt * cols + k] = std::nanf("");
  const DeviceVector<float> device_x(x);
  for (size_t m : {size_t{9}, size_t{33}}) {
    const Values y = multiply(checks, f.layer, m, device_x.data());
    for (size_t i = 0; i < m; ++i) {
      if (i != spoilt)
        checks.same("rows beside NaN", &y[i * rows], &most[i * rows], rows);
      else
        for (size_t n = 0; n < rows; ++n) checks.that("row of NaN", std::isnan(y[i * rows + n]));
    }
  }
}

/// The same layer by several blocks for the same results: the slices are added in the same order.
void check_parts(Checks& checks, const FullLayer& f, const Values& most) {
  const cuda::PackedWeight& w = f.packed.weight();
  const size_t padded = w.padded_cols(), size = kMost * w.rows;
  DeviceVector<cuda::bf16> x(cuda::bytes_of_tiles(kMost, w.column_tiles()) / 2);
  for (int parts : {1, 2, 4, 8}) {
    DeviceVector<float> y(size);
    cuda::ForwardArgs args = {};
    args.layers[0] = cuda::layer_args(f.layer);
    args.layers[0].y = y.data();
    args.count = 1;
    args.m = kMost;
    args.x = x.data();
    DeviceVector<float> sums(cuda::part_sums_bytes(args) / sizeof(float));
    DeviceVector<unsigned> counters(cuda::result_tiles(args));
    expect(cuda::round_rows({f.device_x.data(), kMost, w.cols, padded, x.data(), true,
                             counters.data(), counters.size()},
                            stream()),
           "round_rows");
    expect(cuda::multiply_many(args, {parts, sums.data(), counters.data()}, w.code, stream()),
           "multiply_many");
    checks.same("any number of parts", y.values().data(), most.data(), size);
    if (parts > 1 || !cuda::has_warpgroups()) continue;
    DeviceVector<float> by_groups(size);
    args.layers[0].y = by_groups.data();
    expect(cuda::multiply_many_by_groups(args, w.code, stream()), "multiply_many_by_groups");
    check_close(checks, by_groups.values(), most, w.cols);
  }
}

/// The CPU's product of the same weight.
void check_cpu(Checks& checks, const FullLayer& f, const WeightView& view) {
  const size_t m = 3;
  cuda::PackedLayer plain;
  plain.weight = f.layer.weight;
  plain.bias = f.layer.bias;
  const Values y = multiply(checks, plain, m, f.device_x.data());
  Values want(m * view.rows);
  packed_linear(pack_weight(view, Compute::kBf16), m, f.x.data(), f.bias.data(), want.data());
  for (size_t i = 0; i < y.size(); ++i) {
    Sum terms;
    for (size_t k = 0; k < view.cols; ++k)
      terms.add(static_cast<double>(f.x[i / view.rows * view.cols + k]) *
                f.values[i % view.rows * view.cols + k]);
    checks.near("as the CPU", y[i], want[i], 0x1p-8 / kEpsilon, terms.scale());
  }
}

void check_forward(Checks& checks, const WeightCase& c) {
  const RandomWeight weight(c);
  const FullLayer f(weight.view);
  const Values most = multiply(checks, f.layer, kMost, f.device_x.data());
  check_values(checks, f, most);
  check_rows(checks, f, most);
  check_held(checks, f, most);
  check_others(checks, f, most);
  check_parts(checks, f, most);
  check_cpu(checks, f, weight.view);
}

/// A weight whose products are all of warpgroups: one row has the bits of many, of float32 or bf16,
/// and what was rounded for the kernels for few rows is not looked at.
void check_own_type(Checks& checks, const WeightCase& c) {
  const RandomWeight weight(c);
  FullLayer f(weight.view);
  const Values by_warps = multiply(checks, f.layer, kMost, f.device_x.data());
  f.packed.use(cuda::Instructions::kWarpgroups);
  const Values most = multiply(checks, f.layer, kMost, f.device_x.data());
  check_values(checks, f, most);
  check_rows(checks, f, most);
  check_held(checks, f, most);
  const DeviceVector<cuda::bf16> nothing(16 * f.packed.weight().padded_cols());
  DeviceVector<float> y(2 * c.rows);
  cuda::PackedLayer layer = f.layer;
  layer.y = y.data();
  const cuda::PackedLinearArgs args = {2, f.device_x.data(), &layer, 1, nothing.data()};
  DeviceVector<char> workspace(cuda::packed_linears_workspace(args));
  expect(cuda::packed_linears(args, workspace.data(), stream()), "packed_linears");
  checks.same("not rounded beforehand", y.values().data(), most.data(), y.values().size());
#ifdef LLMKIT_EMULATED
  checks.that("bits of its own", std::memcmp(most.data(), by_warps.data(), 4 * most.size()) != 0);
#endif
}

/// Each kind of instructions has one order of sums; two kinds never meet in a call.
void check_instructions(Checks& checks) {
  if (!cuda::has_warpgroups()) return;
  using F = WeightFormat;
#ifdef LLMKIT_EMULATED
  cuda::emulator::warpgroups_differ = true;
#endif
  for (const WeightCase& c : {WeightCase{F::kInt4, 131, 1152, 128, false, true},
                              WeightCase{F::kNf4, 70, 640, 64, true, false},
                              WeightCase{F::kBf16, 47, 100, 0, false, false}})
    check_own_type(checks, c);
#ifdef LLMKIT_EMULATED
  cuda::emulator::warpgroups_differ = false;
#endif
  const RandomWeight weight({F::kInt4, 33, 64, 64, false, false});
  DeviceWeight one(weight.view), other(weight.view);
  other.use(cuda::Instructions::kWarpgroups);
  cuda::PackedLayer layers[2];
  layers[0].weight = &one.weight();
  layers[1].weight = &other.weight();
  const cuda::PackedLinearArgs args = {3, static_cast<const float*>(nullptr), layers, 2};
  checks.that("two kinds", cuda::packed_linears(args, nullptr, stream()) == cudaErrorInvalidValue);
  checks.that("cannot gate", !cuda::can_gate(one.weight(), other.weight()));
}

/// Layers of all kinds in one call: the bits of each alone.
void check_merged(Checks& checks) {
  using F = WeightFormat;
  const size_t cols = 192;
  const WeightCase cases[] = {
      {F::kInt4, 70, cols, 64, false, true},   {F::kInt4, 33, cols, 32, false, false},
      {F::kInt4, 5, cols, cols, false, false}, {F::kInt4, 128, cols, 64, false, false},
      {F::kInt4, 40, cols, 64, false, true},   {F::kNf4, 65, cols, 64, true, false},
      {F::kFp4, 31, cols, 64, true, false},    {F::kBf16, 50, cols, 0, false, false}};
  std::vector<std::unique_ptr<RandomWeight>> weights;
  std::vector<std::unique_ptr<FullLayer>> layers;
  for (const WeightCase& c : cases) {
    weights.push_back(std::make_unique<RandomWeight>(c));
    layers.push_back(std::make_unique<FullLayer>(weights.back()->view));
  }
  const float* const x = layers[0]->device_x.data();
  for (size_t m : {size_t{1}, size_t{16}, size_t{40}}) {
    std::vector<cuda::PackedLayer> all;
    std::vector<std::unique_ptr<DeviceVector<float>>> results;
    for (const auto& f : layers) {
      results.push_back(std::make_unique<DeviceVector<float>>(m * f->packed.weight().rows));
      all.push_back(f->layer);
      all.back().y = results.back()->data();
    }
    const cuda::PackedLinearArgs args = {m, x, all.data(), all.size()};
    DeviceVector<char> workspace(cuda::packed_linears_workspace(args));
    expect(cuda::packed_linears(args, workspace.data(), stream()), "packed_linears");
    for (size_t i = 0; i < all.size(); ++i) {
      const Values want = multiply(checks, layers[i]->layer, m, x);
      checks.same("merged", results[i]->values().data(), want.data(), want.size());
    }
  }
}

/// x that was rounded beforehand.
void check_rounded(Checks& checks) {
  const size_t cols = 192;
  const RandomWeight weight({WeightFormat::kInt4, 70, cols, 64, false, true});
  const FullLayer full(weight.view);
  std::vector<cuda::bf16> halves;
  for (const float value : full.x) halves.push_back(cuda::bf16(value));
  const DeviceVector<cuda::bf16> x(halves);
  for (size_t m : {size_t{1}, size_t{3}, size_t{16}}) {
    const Values want = multiply(checks, full.layer, m, full.device_x.data());
    DeviceVector<float> y(want.size());
    cuda::PackedLayer layer = full.layer;
    layer.y = y.data();
    const cuda::PackedLinearArgs args = {m, full.device_x.data(), &layer, 1, x.data()};
    DeviceVector<char> workspace(cuda::packed_linears_workspace(args));
    expect(cuda::packed_linears(args, workspace.data(), stream()), "rounded");
    checks.same("rounded beforehand", y.values().data(), want.data(), want.size());
  }
}

/// Many results, so that no slices are shared.
void check_large(Checks& checks) {
  const RandomWeight weight({WeightFormat::kInt4, 400, 128, 64, false, false});
  const DeviceWeight packed(weight.view);
  const size_t m = 33 * 64;
  const DeviceVector<float> x(random_normal(m * 128, 41));
  cuda::PackedLayer layer;
  layer.weight = &packed.weight();
  const Values most = multiply(checks, layer, m, x.data());
  const Values some = multiply(checks, layer, 50, x.data());
  checks.same("of many rows", some.data(), most.data(), some.size());
}

/// Long rows: with two of them there is no room to round them in the product.
void check_long(Checks& checks) {
  const size_t cols = 12288;
  const RandomWeight weight({WeightFormat::kInt4, 33, cols, 128, false, false});
  const DeviceWeight packed(weight.view);
  const DeviceVector<float> x(random_normal(9 * cols, 42));
  cuda::PackedLayer layer;
  layer.weight = &packed.weight();
  const Values most = multiply(checks, layer, 9, x.data());
  for (size_t m : {1, 2}) {
    const Values some = multiply(checks, layer, m, x.data());
    checks.same("of long rows", some.data(), most.data(), some.size());
  }
}

/// Thousands of rows, and odd numbers of them: the bits of the most.
void check_odd_rows(Checks& checks, const WeightCase& c) {
  constexpr size_t kMany = 4999;
  const RandomWeight weight(c);
  const DeviceWeight packed(weight.view);
  const Values host_x = random_normal(kMany * c.cols, 51), values = packed.unpacked();
  const DeviceVector<float> x(host_x), dy(random_normal(kMany * c.rows, 52));
  cuda::PackedLayer layer;
  layer.weight = &packed.weight();
  const auto run_gradient = [&](size_t m) {
    return gradient(checks, {m, dy.data(), &packed.weight(), nullptr, {}});
  };
  const Values most = multiply(checks, layer, kMany, x.data()), dx = run_gradient(kMany);
  for (size_t m : {1, 3, 7, 17, 33, 63, 65, 127, 129, 255, 511, 1023, 2049}) {
    const Values y = multiply(checks, layer, m, x.data()), some = run_gradient(m);
    checks.same("an odd number of rows", y.data(), most.data(), y.size());
    checks.same("its gradient", some.data(), dx.data(), some.size());
  }
  for (size_t i = 0; i < most.size(); i += 7) {
    Sum want;
    for (size_t k = 0; k < c.cols; ++k)
      want.add(static_cast<double>(rounded(host_x[i / c.rows * c.cols + k])) *
               values[i % c.rows * c.cols + k]);
    checks.near("y of many rows", most[i], want.value, matrix_ulps(c.cols), want.scale());
  }
}

/// Every piece of rows in tiles has a place of its own in the memory for them, and rows of a tile
/// from a multiple of 8 on are a run of bytes, as a product's operand has them.
void check_tiles(Checks& checks) {
  for (size_t m = 1; m < 5000; m += m < 200 ? 1 : 211)
    for (const size_t column_tiles : {1, 3}) {
      std::vector<bool> used(cuda::bytes_of_tiles(m, column_tiles) / 16);
      for (size_t row = 0; row < m; ++row)
        for (size_t piece = 0; piece < 8 * column_tiles; ++piece) {
          const size_t at = cuda::piece_of_tiles(row, piece, column_tiles);
          if (at >= used.size() || used[at]) return checks.that("a place of its own", false);
          used[at] = true;
          const size_t begin = cuda::piece_of_tiles(row / 8 * 8, piece / 8 * 8, column_tiles);
          const size_t in_rows = cuda::x_address(0, row % 8, piece % 8) / 16;
          if (at != begin + in_rows) return checks.that("as in shared memory", false);
          // The exclusive-or of a tensor map's and a product's 128-byte mode: bits 4..6 by 7..9.
          const size_t plain = row % 8 * 128 + piece % 8 * 16;
          if (in_rows * 16 != (plain ^ (plain >> 7 & 7) << 4))
            return checks.that("turned as by 128 bytes", false);
        }
    }
}

void check_all(Checks& checks) {
  check_tiles(checks);
  for (const WeightCase& c : packed_shapes()) {
    check_forward(checks, c);
    check_gradient(checks, c);
    check_gradient_by_groups(checks, c);
  }
  check_instructions(checks);
  check_merged(checks);
  check_rounded(checks);
  check_large(checks);
  check_long(checks);
  if (tests_long_cases())
    for (const WeightCase& c : packed_shapes())
      if (c.rows * c.cols < 12500) check_odd_rows(checks, c);
  check_endings(checks);
  check_all_runs(checks);
}

}  // namespace

int main() {
  setenv("LLMKIT_EMULATED_SHARED", "232448", 1);  // what kernels for compute capability 9.0 take
  return run_on_device(check_all);
}
