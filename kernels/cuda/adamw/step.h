#pragma once

#include "cpu/adamw/adamw.h"
#include "cuda/base/cuda.h"

namespace llmkit::cuda {

/// One value's update, in the order of cpu/adamw/generic.h.
__device__ __forceinline__ void adamw_step(const AdamwFactors& f, float gradient, float& parameter,
                                           float& m, float& v) {
  const float g = gradient * f.gradient_scale;
  m = fmaf(g - m, f.blend_m, m);
  v = fmaf(g * g, f.blend_v, v * f.beta2);
  const float denominator = fmaf(sqrtf(v), f.inverse_root, f.eps);
  parameter = parameter * f.keep - m * f.step_size / denominator;
}

}  // namespace llmkit::cuda
