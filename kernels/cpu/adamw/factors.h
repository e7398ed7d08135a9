#pragma once

#include <cmath>

#include "cpu/adamw/adamw.h"

namespace llmkit {

inline AdamwFactors adamw_factors(const AdamwHyper& h) {
  const double correction1 = 1 - std::pow(h.beta1, h.step);
  const double correction2 = 1 - std::pow(h.beta2, h.step);
  AdamwFactors f;
  f.gradient_scale = static_cast<float>(h.gradient_scale);
  f.keep = static_cast<float>(1 - h.learning_rate * h.weight_decay);
  f.blend_m = static_cast<float>(1 - h.beta1);
  f.beta2 = static_cast<float>(h.beta2);
  f.blend_v = static_cast<float>(1 - h.beta2);
  f.step_size = static_cast<float>(h.learning_rate / correction1);
  f.inverse_root = static_cast<float>(1 / std::sqrt(correction2));
  f.eps = static_cast<float>(h.eps);
  return f;
}

}  // namespace llmkit
