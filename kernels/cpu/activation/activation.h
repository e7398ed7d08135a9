#pragma once

#include <cstddef>

#include "base/elements.h"

namespace llmkit {

/// silu = x σ(x); gelu = x Φ(x) (https://arxiv.org/abs/1606.08415), by erf; gelu_tanh, its
/// approximation; quick_gelu = x σ(1.702 x). In the order of kActivationNames.
enum class Activation { kSilu, kGelu, kGeluTanh, kQuickGelu, kRelu, kSigmoid, kTanh, kCount };
constexpr size_t kActivations = static_cast<size_t>(Activation::kCount);
constexpr const char* kActivationNames[kActivations] = {
    "silu", "gelu", "gelu_tanh", "quick_gelu", "relu", "sigmoid", "tanh"};

/// y = f(x) for n values; y may be x.
void activation(Activation f, size_t n, const ConstElements& x, const Elements& y);
/// dx = dy · f'(x); dx may be dy.
void activation_grad(Activation f, size_t n, const ConstElements& x, const float* dy, float* dx);

/// The gated unit of https://arxiv.org/abs/2002.05202: y = f(gate) · up; y may be either.
void gated_mlp(Activation f, size_t n, const ConstElements& gate, const ConstElements& up,
               const Elements& y);

struct GatedMlpGrad {
  ConstElements gate;
  ConstElements up;
  const float* dy;
  float* dgate;
  float* dup;
};
void gated_mlp_grad(Activation f, size_t n, const GatedMlpGrad& args);

/// GatedMlpGrad where all is float32.
struct GatedGradFloats {
  const float *gate, *up, *dy;
  float *dgate, *dup;
};

/// n elements on one thread, by Activation.
struct ActivationKernels {
  void (*value[kActivations])(size_t n, const float* x, float* y);
  void (*gradient[kActivations])(size_t n, const float* x, const float* dy, float* dx);
  void (*gated[kActivations])(size_t n, const float* gate, const float* up, float* y);
  void (*gated_gradient[kActivations])(size_t n, const GatedGradFloats& args);
};

/// The best kernels of this machine.
const ActivationKernels& activation_kernels();

#define ACTIVATION_KERNELS(isa, name) extern const ActivationKernels name;
#include "cpu/activation/kernels.inc"
#undef ACTIVATION_KERNELS

}  // namespace llmkit
