#pragma once

#include "cpu/activation/activation.h"
#include "cuda/base/cuda.h"

// The functions of enum Activation on one value, for every kernel that ends in one.

namespace llmkit::cuda {

/// A function's value and slope at the same point.
struct Point {
  float value, slope;
};

__device__ __forceinline__ float sigmoid(float x) { return 1 / (1 + expf(-x)); }

struct Sigmoid {
  static __device__ __forceinline__ float value(float x) { return sigmoid(x); }
  static __device__ __forceinline__ Point point(float x) {
    const float s = sigmoid(x);
    return {s, s * (1 - s)};
  }
};

struct Silu {
  static __device__ __forceinline__ float value(float x) { return x * sigmoid(x); }
  static __device__ __forceinline__ Point point(float x) {
    const float s = sigmoid(x);
    return {x * s, s * fmaf(x, 1 - s, 1)};
  }
};

struct QuickGelu {
  static __device__ __forceinline__ float value(float x) { return x * sigmoid(x * 1.702f); }
  static __device__ __forceinline__ Point point(float x) {
    const float scaled = x * 1.702f, s = sigmoid(scaled);
    return {x * s, s * fmaf(scaled, 1 - s, 1)};
  }
};

struct Gelu {
  static __device__ __forceinline__ float probability(float x) {
    return 0.5f * (1 + erff(x * 0.707106781f));
  }
  static __device__ __forceinline__ float value(float x) { return x * probability(x); }
  static __device__ __forceinline__ Point point(float x) {
    const float p = probability(x);
    const float density = 0.398942280f * expf(-0.5f * (x * x));  // 1 / sqrt(2 pi)
    return {x * p, fmaf(x, density, p)};
  }
};

struct GeluTanh {
  static constexpr float kOuter = 0.797884561f, kCubic = 0.044715f;  // sqrt(2 / pi)
  static __device__ __forceinline__ float inner(float x) {
    return tanhf(kOuter * fmaf(kCubic * (x * x), x, x));
  }
  static __device__ __forceinline__ float value(float x) { return 0.5f * x * (1 + inner(x)); }
  static __device__ __forceinline__ Point point(float x) {
    const float t = inner(x);
    const float argument = kOuter * fmaf(3 * kCubic, x * x, 1);
    const float bend = 0.5f * x * (1 - t * t) * argument;
    return {0.5f * x * (1 + t), fmaf(0.5f, 1 + t, bend)};
  }
};

struct Relu {
  static __device__ __forceinline__ float value(float x) { return 0 > x ? 0 : x; }  // keeps NaN
  static __device__ __forceinline__ Point point(float x) { return {value(x), x > 0 ? 1.f : 0.f}; }
};

struct Tanh {
  static __device__ __forceinline__ float value(float x) { return tanhf(x); }
  static __device__ __forceinline__ Point point(float x) {
    const float t = tanhf(x);
    return {t, 1 - t * t};
  }
};

/// Calls use(F()) with the class of f. Kernels may call it as launchers do, which is why the
/// compiler is not to ask whether `use` is for both.
#pragma nv_exec_check_disable
template <class Use>
__host__ __device__ auto with_activation(Activation f, Use use) {
  switch (f) {
    case Activation::kSilu:
      return use(Silu());
    case Activation::kGelu:
      return use(Gelu());
    case Activation::kGeluTanh:
      return use(GeluTanh());
    case Activation::kQuickGelu:
      return use(QuickGelu());
    case Activation::kRelu:
      return use(Relu());
    case Activation::kSigmoid:
      return use(Sigmoid());
    default:
      return use(Tanh());
  }
}

/// f(x), where a kernel has one form for all functions.
__device__ __forceinline__ float activate(Activation f, float x) {
  return with_activation(f, [=](auto function) { return decltype(function)::value(x); });
}

}  // namespace llmkit::cuda
