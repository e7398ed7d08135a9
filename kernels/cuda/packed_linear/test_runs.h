#pragma once

#include "cuda/packed_linear/test_layer.h"
#include "cuda/testing/repeat.h"

namespace llmkit::cuda::testing {

inline std::vector<Values> gradient_of_run(const PackedWeight& weight,
                                           const DeviceVector<float>& dy) {
  DeviceVector<float> dx(kMost * weight.cols);
  const PackedGradInputArgs args = {kMost, dy.data(), &weight, dx.data(), {}};
  DeviceVector<char> workspace(packed_grad_input_workspace(args));
  expect(packed_grad_input(args, workspace.data(), stream()), "packed_grad_input");
  return {dx.values()};
}

/// One row, few and many, which several blocks make in parts, and the gradient: any run's bits.
inline void check_all_runs(Checks& checks) {
  for (const WeightCase& c : {WeightCase{WeightFormat::kInt4, 131, 1152, 128, false, true},
                              WeightCase{WeightFormat::kNf4, 65, 1152, 64, true, false}}) {
    const RandomWeight weight(c);
    const FullLayer f(weight.view);
    for (const size_t m : {size_t{1}, size_t{16}, kMost})
      check_runs(checks, "y of any run", [&] {
        return std::vector<Values>{multiply(checks, f.layer, m, f.device_x.data())};
      });
    const DeviceVector<float> dy(random_normal(kMost * c.rows, 31));
    check_runs(checks, "dx of any run", [&] { return gradient_of_run(*f.layer.weight, dy); });
  }
}

}  // namespace llmkit::cuda::testing
