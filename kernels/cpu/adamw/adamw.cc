#include "cpu/adamw/adamw.h"

#include <cmath>

#include "base/cpu_features.h"
#include "base/parallel.h"

namespace llmkit {
namespace {

const AdamwKernels& kernels() {
#define ADAMW_KERNELS(isa, name) \
  if (runs_here(isa)) return name;
#include "cpu/adamw/kernels.inc"
#undef ADAMW_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

AdamwFactors factors_of(const AdamwHyper& h) {
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

}  // namespace

void adamw(size_t n, const AdamwState& state, const AdamwHyper& hyper) {
  const AdamwFactors factors = factors_of(hyper);
  parallel_elements(n, 8,
                    [&](size_t begin, size_t end) { kernels().run(begin, end, state, factors); });
}

}  // namespace llmkit
