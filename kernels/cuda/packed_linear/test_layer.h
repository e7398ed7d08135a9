#pragma once

#include <cmath>
#include <vector>

#include "cuda/packed/test_weight.h"
#include "cuda/packed_linear/packed_linear.h"

// Layers that the tests of packed products multiply with.

namespace llmkit::cuda::testing {

using Values = std::vector<float>;

/// The most rows of x.
constexpr size_t kMost = 70;

/// low [m, rank] · high of an update, on the host.
struct HostUpdate {
  size_t rank;
  Values low, high;
  size_t rank_step, step;
  HostUpdate(size_t m, size_t rank, size_t results, bool by_rank)
      : rank(rank),
        low(random_normal(m * rank, 21)),
        high(random_normal(results * rank, 22)),
        rank_step(by_rank ? results : 1),
        step(by_rank ? 1 : rank) {}
  Sum at(size_t m, size_t n) const {
    Sum sum;
    for (size_t r = 0; r < rank; ++r)
      sum.add(static_cast<double>(low[m * rank + r]) * high[r * rank_step + n * step]);
    return sum;
  }
};

/// An update on the device.
struct DeviceUpdate {
  explicit DeviceUpdate(const HostUpdate& host)
      : low(host.low),
        high(host.high),
        update{host.rank, low.data(), high.data(), host.rank_step, host.step} {}
  DeviceVector<float> low, high;
  cuda::LowRank update;
};

/// y of `linears` for one layer, with a value beyond the end that must stay as it is.
inline Values multiply(Checks& checks, cuda::PackedLayer layer, size_t m, ConstElements x) {
  const size_t size = m * layer.weight->rows;
  DeviceVector<float> y(size + 1);
  layer.y = y.data();
  const cuda::PackedLinearArgs args = {m, x, &layer, 1};
  DeviceVector<char> workspace(cuda::packed_linears_workspace(args));
  expect(cuda::packed_linears(args, workspace.data(), stream()), "packed_linears");
  Values values = y.values();
  checks.that("nothing beyond the end", std::isnan(values[size]));
  values.resize(size);
  return values;
}

/// A layer with everything that it can have.
struct FullLayer {
  explicit FullLayer(const WeightView& view, size_t rank = 5)
      : packed(view),
        values(packed.unpacked()),
        x(random_normal(kMost * view.cols, 11)),
        bias(random_normal(view.rows, 12)),
        residual(random_normal(kMost * view.rows, 13)),
        host_update(kMost, rank, view.rows, false),
        device_x(x),
        device_bias(bias),
        device_residual(residual),
        update(host_update) {
    layer.weight = &packed.weight();
    layer.bias = device_bias.data();
    layer.residual = device_residual.data();
    layer.update = update.update;
  }
  DeviceWeight packed;
  Values values, x, bias, residual;
  HostUpdate host_update;
  DeviceVector<float> device_x, device_bias, device_residual;
  DeviceUpdate update;
  cuda::PackedLayer layer;
};

}  // namespace llmkit::cuda::testing
