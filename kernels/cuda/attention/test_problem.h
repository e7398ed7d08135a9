#pragma once

#include <algorithm>

#include "cpu/attention/reference.h"
#include "cuda/attention/attention.h"
#include "cuda/testing/testing.h"

// Inputs of the tests of attention, on the host and on the device.

namespace llmkit::cuda::testing {

struct Shape {
  size_t B, T, S, H, K, E;
};
struct Features {
  float softcap = 0;
  bool slopes = false;
  float scale = 0.3f;
};

/// Causal, ending at the last key, with a window, in packed segments of so many keys.
struct Seen {
  int32_t window = 1 << 20, segment = 1 << 20;
};

struct Problem {
  Shape shape;
  Features features;
  std::vector<float> q, k, v, slopes, dy;
  std::vector<int32_t> first, last;

  Problem(const Shape& s, Features with, Seen seen)
      : shape(s),
        features(with),
        q(random_normal(s.B * s.T * s.H * s.E, 1)),
        k(random_normal(s.B * s.S * s.K * s.E, 2)),
        v(random_normal(k.size(), 3)),
        dy(random_normal(q.size(), 4)) {
    // As models have them: an error of a score is in proportion to its size.
    for (size_t h = 0; h < s.H; ++h) slopes.push_back(std::exp2(-1.0f - static_cast<float>(h % 8)));
    const int32_t history = static_cast<int32_t>(s.S) - static_cast<int32_t>(s.T);
    for (size_t i = 0; i < s.B * s.T; ++i) {
      last.push_back(history + static_cast<int32_t>(i % s.T));
      first.push_back(
          std::max(last.back() / seen.segment * seen.segment, last.back() - seen.window + 1));
    }
  }

  llmkit::AttentionArgs host() const {
    return {shape.B,        shape.T,         shape.S,     shape.H,
            shape.K,        shape.E,         q.data(),    k.data(),
            v.data(),       first.data(),    last.data(), features.slopes ? slopes.data() : nullptr,
            features.scale, features.softcap};
  }
};

/// The same on the device. Products agree with those of few rows.
struct DeviceProblem {
  DeviceVector<float> q, k, v, slopes, dy;
  DeviceVector<int32_t> first, last;
  AttentionArgs args;

  DeviceProblem(const Problem& p, bool rounded)
      : q(p.q), k(p.k), v(p.v), slopes(p.slopes), dy(p.dy), first(p.first), last(p.last) {
    const Shape& s = p.shape;
    args = {s.B,
            s.T,
            s.S,
            s.H,
            s.K,
            s.E,
            q.data(),
            k.data(),
            v.data(),
            first.data(),
            last.data(),
            p.features.slopes ? slopes.data() : nullptr,
            p.features.scale,
            p.features.softcap,
            rounded,
            invariant_instructions()};
  }
};

struct Forward {
  std::vector<float> y, log_sum_exp;
};
inline Forward attend(const AttentionArgs& args) {
  DeviceVector<float> y(args.B * args.T * args.H * args.E), sums(args.B * args.T * args.H);
  DeviceVector<char> workspace(attention_workspace(args));
  expect(attention(args, y.data(), sums.data(), workspace.data(), stream()), "attention");
  return {y.values(), sums.values()};
}

struct Gradients {
  std::vector<float> dq, dk, dv;
};
inline Gradients gradients_of(const DeviceProblem& problem, const Forward& forward) {
  const AttentionArgs& args = problem.args;
  const DeviceVector<float> y(forward.y), sums(forward.log_sum_exp);
  DeviceVector<float> dq(forward.y.size()), dk(args.B * args.S * args.K * args.E), dv(dk.size());
  DeviceVector<char> workspace(attention_grad_workspace(args));
  const AttentionGradArgs grad = {y.data(),  sums.data(), problem.dy.data(),
                                  dq.data(), dk.data(),   dv.data()};
  expect(attention_grad(args, grad, workspace.data(), stream()), "attention_grad");
  return {dq.values(), dk.values(), dv.values()};
}

/// x rounded to bf16.
inline std::vector<float> rounded(const std::vector<float>& x) {
  std::vector<float> y(x.size());
  for (size_t i = 0; i < x.size(); ++i) y[i] = __bfloat162float(__float2bfloat16_rn(x[i]));
  return y;
}

/// Every value near the wanted one, within so many float32 roundings of the largest of all.
inline void near_all(Checks& checks, const char* what, const std::vector<float>& got,
                     const std::vector<double>& want, double ulps, double largest = 0) {
  for (const double value : want) largest = std::fmax(largest, std::fabs(value));
  for (size_t i = 0; i < want.size(); ++i) checks.near(what, got[i], want[i], ulps, largest);
}

}  // namespace llmkit::cuda::testing
