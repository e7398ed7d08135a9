#pragma once

#include "cuda/packed_linear/test_sums.h"

namespace llmkit::cuda::testing {

/// dx with a value beyond the end that must stay as it is.
inline Values gradient(Checks& checks, cuda::PackedGradInputArgs args) {
  const size_t size = args.m * args.weight->cols;
  DeviceVector<float> dx(size + 1);
  args.dx = dx.data();
  DeviceVector<char> workspace(cuda::packed_grad_input_workspace(args));
  expect(cuda::packed_grad_input(args, workspace.data(), stream()), "packed_grad_input");
  Values values = dx.values();
  checks.that("nothing beyond the end", std::isnan(values[size]));
  values.resize(size);
  return values;
}

/// The values of the weight that the gradient multiplies, by a dy of one 1 in each row: what the
/// forward product sees, rounded to bf16 once but for a rare step.
inline Values gradient_values(Checks& checks, const DeviceWeight& packed) {
  const size_t rows = packed.weight().rows;
  Values identity(rows * rows);
  for (size_t i = 0; i < rows; ++i) identity[i * rows + i] = 1;
  const DeviceVector<float> dy(identity);
  const Values got = gradient(checks, {rows, dy.data(), &packed.weight(), nullptr, {}});
  const Values want = packed.unpacked();
  for (size_t i = 0; i < got.size(); ++i)
    checks.near("the weight's value", got[i], want[i], 1.01 * 0x1p-8 / kEpsilon);
  return got;
}

inline void check_gradient(Checks& checks, const WeightCase& c) {
  const RandomWeight weight(c);
  const DeviceWeight packed(weight.view);
  const Values values = gradient_values(checks, packed);
  const size_t rows = c.rows, cols = c.cols;
  const Values host_dy = random_normal(kMost * rows, 31);
  const DeviceVector<float> dy(host_dy);
  const HostUpdate host_update(kMost, 19, cols, true);
  const DeviceUpdate update(host_update);
  const auto run = [&](size_t m) {
    return gradient(checks, {m, dy.data(), &packed.weight(), nullptr, update.update});
  };
  const Values dx = run(kMost);
  const double ulps = matrix_ulps(rows);
  for (size_t i = 0; i < dx.size(); ++i) {
    const size_t m = i / cols, k = i % cols;
    Sum want;
    for (size_t n = 0; n < rows; ++n)
      want.add(static_cast<double>(rounded(host_dy[m * rows + n])) * values[n * cols + k]);
    const Sum added = host_update.at(m, k);
    const double split = added.scale() * kSplitError / (ulps * kEpsilon);
    checks.near("dx", dx[i], want.value + added.value, ulps, want.scale() + split);
  }
  for (size_t m : kRowCounts) {
    const Values some = run(m);
    checks.same("dx of any number of rows", some.data(), dx.data(), some.size());
  }
}

/// The gradient by either kind of products: their sums have the same order.
inline void check_gradient_by_groups(Checks& checks, const WeightCase& c) {
  if (!cuda::has_warpgroups()) return;
  const RandomWeight weight(c);
  const DeviceWeight packed(weight.view);
  const size_t m = 150, padded = (c.rows + 63) / 64 * 64;
  const HostUpdate host_update(m, 19, c.cols, true);
  const DeviceUpdate update(host_update);
  const DeviceVector<float> dy(random_normal(m * c.rows, 31));
  DeviceVector<cuda::bf16> rounded_dy(cuda::bytes_of_tiles(m, padded / 64) / 2);
  DeviceVector<float> dx(m * c.cols), want(m * c.cols);
  expect(cuda::round_rows({dy.data(), m, c.rows, padded, rounded_dy.data(), true, nullptr, 0},
                          stream()),
         "round_rows");
  cuda::GradArgs args = {cuda::weight_args(packed.weight()),
                         static_cast<int>(m),
                         static_cast<int>(c.cols),
                         rounded_dy.data(),
                         want.data(),
                         update.update};
  const cuda::PackedCode code = packed.weight().code;
  expect(cuda::multiply_grad(args, code, stream()), "multiply_grad");
  args.dx = dx.data();
  expect(cuda::multiply_grad_by_groups(args, code, stream()), "multiply_grad_by_groups");
  check_close(checks, dx.values(), want.values(), c.rows);
}

}  // namespace llmkit::cuda::testing
