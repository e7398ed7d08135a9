#pragma once

#include "cuda/attention/test_problem.h"
#include "cuda/testing/shifted.h"

// Activations that are held as bf16.

namespace llmkit::cuda::testing {

/// Gradients with y as it is held.
inline Gradients gradients_of_held(const AttentionArgs& args, const ConstElements& y,
                                   const std::vector<float>& log_sum_exp, const float* dy) {
  const DeviceVector<float> sums(log_sum_exp);
  DeviceVector<float> dq(args.B * args.T * args.H * args.E);
  DeviceVector<float> dk(args.B * args.S * args.K * args.E), dv(dk.size());
  DeviceVector<char> workspace(attention_grad_workspace(args));
  const AttentionGradArgs grad = {y, sums.data(), dy, dq.data(), dk.data(), dv.data()};
  expect(attention_grad(args, grad, workspace.data(), stream()), "attention_grad");
  return {dq.values(), dk.values(), dv.values()};
}

/// q, k, v and y of bf16 give the bits of the same values in float32; y as bf16 is those rounded.
inline void check_held(Checks& checks, const Shape& shape, Features features, Seen seen) {
  Problem problem(shape, features, seen);
  for (std::vector<float>* x : {&problem.q, &problem.k, &problem.v}) *x = rounded(*x);
  const DeviceProblem device(problem, true);
  const DeviceVector<uint16_t> q(halves_of(problem.q)), k(halves_of(problem.k)),
      v(halves_of(problem.v));
  AttentionArgs held = device.args;
  held.q = q.data();
  held.k = k.data();
  held.v = v.data();
  const Forward want = attend(device.args), got = attend(held);
  checks.that("y of bf16", same_bytes(got.y, want.y));
  checks.that("log_sum_exp of bf16", same_bytes(got.log_sum_exp, want.log_sum_exp));

  DeviceVector<uint16_t> y(want.y.size());
  DeviceVector<char> workspace(attention_workspace(held));
  expect(attention(held, y.data(), nullptr, workspace.data(), stream()), "attention");
  checks.that("y as bf16", same_bytes(y.values(), halves_of(want.y)));
  held.rounded = false;
  checks.that("only rounded products take bf16",
              attention(held, y.data(), nullptr, workspace.data(), stream()) != cudaSuccess);

  held.rounded = true;
  const Gradients exact = gradients_of(device, {rounded(want.y), want.log_sum_exp});
  const Gradients grad = gradients_of_held(held, y.data(), want.log_sum_exp, device.dy.data());
  checks.that("dq of bf16", same_bytes(grad.dq, exact.dq));
  checks.that("dk of bf16", same_bytes(grad.dk, exact.dk));
  checks.that("dv of bf16", same_bytes(grad.dv, exact.dv));
}

}  // namespace llmkit::cuda::testing
