#pragma once

#include <cstddef>

namespace llmkit {

/// AdamW, https://arxiv.org/abs/1711.05101, in the form of torch.optim.AdamW, step t from 1:
///   g = gradient · gradient_scale;  p *= 1 - lr · decay
///   m += (g - m)(1 - beta1);  v = v · beta2 + g² (1 - beta2)
///   p -= lr / (1 - beta1^t) · m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
struct AdamwHyper {
  double step, learning_rate, beta1, beta2, eps, weight_decay, gradient_scale;
};
struct AdamwState {
  float* parameter;
  const float* gradient;
  float* m;
  float* v;
};

/// Updates n values of parameter, m and v in place.
void adamw(size_t n, const AdamwState& state, const AdamwHyper& hyper);

/// The factors of the formula, worked out in double.
struct AdamwFactors {
  float gradient_scale, keep, blend_m, beta2, blend_v, step_size, inverse_root, eps;
};
struct AdamwKernels {
  void (*run)(size_t begin, size_t end, const AdamwState& state, const AdamwFactors& factors);
};

/// Those of the best instruction set here.
const AdamwKernels& adamw_kernels();

#define ADAMW_KERNELS(isa, name) extern const AdamwKernels name;
#include "cpu/adamw/kernels.inc"
#undef ADAMW_KERNELS

}  // namespace llmkit
