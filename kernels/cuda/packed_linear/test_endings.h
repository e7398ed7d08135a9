#pragma once

#include <algorithm>
#include <iterator>
#include <memory>
#include <vector>

#include "base/bf16.h"
#include "cuda/activation/activation.h"
#include "cuda/packed_linear/products.h"
#include "cuda/packed_linear/test_layer.h"

// Layers that end in a function, and pairs of which one gates the other: the bits of the sums and
// of the functions of cuda/activation after them.

namespace llmkit::cuda::testing {

/// A gate and a layer that it gates, with other values, another bias and another rank.
class GatedPair {
 public:
  GatedPair(const WeightCase& gate, const WeightCase& up) : gate_(gate, 0, 5), up_(up, 4, 7) {
    up_.full.layer.bias = up_.full.device_residual.data();
  }

  const PackedLayer& gate() const { return gate_.full.layer; }
  const PackedLayer& up() const { return up_.full.layer; }
  const float* x() const { return gate_.full.device_x.data(); }
  size_t rows() const { return gate().weight->rows; }

  /// The two as a product takes them.
  std::vector<PackedLayer> layers(Activation f, float* y) const {
    std::vector<PackedLayer> pair = {gate(), up()};
    pair[0].ending = Ending::kGates;
    pair[0].f = f;
    pair[0].y = y;
    for (PackedLayer& layer : pair) layer.residual = nullptr;
    return pair;
  }

 private:
  struct Part {
    Part(const WeightCase& c, size_t shift, size_t rank)
        : weight(c), full(shifted(weight.view, shift), rank) {}
    static WeightView shifted(WeightView view, size_t shift) {
      view.codes += shift;
      return view;
    }
    RandomWeight weight;
    FullLayer full;
  };
  Part gate_, up_;
};

/// The sums of a layer, and f of them by a kernel of its own.
inline Values sums_of(Checks& checks, PackedLayer layer, size_t m, const float* x) {
  layer.residual = nullptr;
  return multiply(checks, layer, m, x);
}
inline Values activated_later(Activation f, const Values& sums) {
  const DeviceVector<float> x(sums);
  DeviceVector<float> y(sums.size());
  expect(activation(f, sums.size(), x.data(), y.data(), stream()), "activation");
  return y.values();
}
inline Values gated_later(Activation f, const Values& gate, const Values& up) {
  const DeviceVector<float> gates(gate), ups(up);
  DeviceVector<float> y(gate.size());
  expect(gated_mlp(f, gate.size(), gates.data(), ups.data(), y.data(), nullptr, stream()),
         "gated_mlp");
  return y.values();
}

/// y of layers that write one y, and y in bf16 where there are few rows.
inline Values ended(Checks& checks, std::vector<PackedLayer> layers, size_t m, const float* x) {
  const size_t size = m * layers[0].weight->rows;
  DeviceVector<float> y(size + 1);
  DeviceVector<uint16_t> rounded(size + 1);
  layers[0].y = y.data();
  const bool few = m <= static_cast<size_t>(kFewRows);
  if (few) layers[0].rounded = reinterpret_cast<bf16*>(rounded.data());
  const PackedLinearArgs args = {m, x, layers.data(), layers.size()};
  DeviceVector<char> workspace(packed_linears_workspace(args));
  expect(packed_linears(args, workspace.data(), stream()), "packed_linears");
  Values values = y.values();
  checks.that("nothing beyond the end", std::isnan(values[size]));
  values.resize(size);
  const std::vector<uint16_t> halves = rounded.values();
  checks.that("nothing beyond the halves", halves[size] == 0xffff);
  for (size_t i = 0; few && i < size; ++i)
    checks.that("rounded", halves[i] == llmkit::to_bf16(values[i]));
  return values;
}

constexpr size_t kEndingRows[] = {1, 2, 3, 8, 9, 16, 17, 65, kMost};

inline void check_ending(Checks& checks, const GatedPair& pair, Activation f, size_t m) {
  const Values gate = sums_of(checks, pair.gate(), m, pair.x());
  const Values up = sums_of(checks, pair.up(), m, pair.x());
  const Values gated = ended(checks, pair.layers(f, nullptr), m, pair.x());
  checks.same("gated", gated.data(), gated_later(f, gate, up).data(), gated.size());
  PackedLayer alone = pair.layers(f, nullptr)[0];
  alone.ending = Ending::kActivated;
  const Values activated = ended(checks, {alone}, m, pair.x());
  checks.same("activated", activated.data(), activated_later(f, gate).data(), activated.size());
}

/// The kernels for many rows, with several blocks for the same results and by warpgroups.
inline void check_gated_forms(Checks& checks, const GatedPair& pair, const Values& want) {
  const PackedWeight& w = *pair.gate().weight;
  DeviceVector<bf16> x(bytes_of_tiles(kMost, w.column_tiles()) / 2);
  for (int parts : {1, 2, 4, 8}) {
    DeviceVector<float> y(want.size()), by_groups(want.size());
    const std::vector<PackedLayer> layers = pair.layers(Activation::kSilu, y.data());
    ForwardArgs args = {};
    args.layers[0] = layer_args(layers[0]);
    args.layers[1] = layer_args(layers[1]);
    args.count = 1;
    args.m = kMost;
    args.x = x.data();
    DeviceVector<float> sums(result_tiles(args) * kSlices * kManyThreads * 32);
    DeviceVector<unsigned> counters(result_tiles(args));
    expect(round_rows({pair.x(), kMost, w.cols, w.padded_cols(), x.data(), true, counters.data(),
                       counters.size()},
                      stream()),
           "round_rows");
    expect(multiply_many(args, {parts, sums.data(), counters.data()}, w.code, stream()),
           "multiply_many");
    checks.same("gated, any number of parts", y.values().data(), want.data(), want.size());
    if (parts > 1 || warpgroups() != Warpgroups::kSameBits) continue;
    args.layers[0].y = by_groups.data();
    expect(multiply_many_by_groups(args, w.code, stream()), "multiply_many_by_groups");
    checks.same("gated by warpgroups", by_groups.values().data(), want.data(), want.size());
  }
}

/// The sums of every kernel for many rows have places of their own.
template <int kBlocks>
void check_places_of_sums(Checks& checks, int rows_of_x) {
  std::vector<bool> used(kManyThreads * 8 * kBlocks);
  for (int row = 0; row < 128; ++row)
    for (int m = 0; m < rows_of_x; ++m) {
      const size_t at = place_of_sum<kBlocks>(row, m);
      if (at >= used.size() || used[at]) return checks.that("a sum's own place", false);
      used[at] = true;
    }
  checks.that("all places", std::count(used.begin(), used.end(), false) == 0);
}

/// Pairs that no kernel multiplies together.
inline void check_unlike(Checks& checks) {
  using F = WeightFormat;
  const WeightCase base = {F::kInt4, 64, 256, 64, false, false};
  const WeightCase others[] = {{F::kInt4, 64, 256, 128, false, false},
                               {F::kInt4, 96, 256, 64, false, false},
                               {F::kNf4, 64, 256, 64, false, false},
                               {F::kBf16, 64, 256, 0, false, false}};
  for (const WeightCase& other : others) {
    const GatedPair pair(base, other);
    DeviceVector<float> y(pair.rows());
    const std::vector<PackedLayer> layers = pair.layers(Activation::kSilu, y.data());
    checks.that("cannot gate", !can_gate(*layers[0].weight, *layers[1].weight));
    const PackedLinearArgs args = {1, pair.x(), layers.data(), layers.size()};
    checks.that("refused", packed_linears(args, nullptr, stream()) == cudaErrorInvalidValue);
    const PackedLinearArgs alone = {1, pair.x(), layers.data(), 1};
    checks.that("a gate of nothing",
                packed_linears(alone, nullptr, stream()) == cudaErrorInvalidValue);
  }
  const GatedPair tables({F::kNf4, 64, 256, 64, false, false},
                         {F::kFp4, 64, 256, 64, false, false});
  checks.that("other tables", !can_gate(*tables.gate().weight, *tables.up().weight));
}

inline void check_endings(Checks& checks) {
  using F = WeightFormat;
  check_places_of_sums<4>(checks, 64);
  check_places_of_sums<8>(checks, 128);
  for (const WeightCase& c : packed_shapes()) {
    const GatedPair pair(c, c);
    check_ending(checks, pair, Activation::kSilu, 5);
    const Values most =
        gated_later(Activation::kSilu, sums_of(checks, pair.gate(), kMost, pair.x()),
                    sums_of(checks, pair.up(), kMost, pair.x()));
    check_gated_forms(checks, pair, most);
  }
  const GatedPair pair({F::kInt4, 90, 320, 64, false, true}, {F::kInt4, 90, 320, 64, false, false});
  for (size_t m : kEndingRows) check_ending(checks, pair, Activation::kGeluTanh, m);
  for (size_t f = 0; f < kActivations; ++f)
    for (size_t m : {size_t{3}, size_t{40}})
      check_ending(checks, pair, static_cast<Activation>(f), m);
  check_unlike(checks);
}

}  // namespace llmkit::cuda::testing
