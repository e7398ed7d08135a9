#include "cpu/activation/activation.h"

#include "base/cpu_features.h"
#include "base/parallel.h"

namespace llmkit {
namespace {

const ActivationKernels& kernels() {
#define ACTIVATION_KERNELS(isa, name) \
  if (runs_here(isa)) return name;
#include "cpu/activation/kernels.inc"
#undef ACTIVATION_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

/// Operations for an element: an exponential and what is around it.
constexpr size_t kWork = 16;
size_t place(Activation f) { return static_cast<size_t>(f); }

}  // namespace

void activation(Activation f, size_t n, const float* x, float* y) {
  parallel_elements(n, kWork,
                    [&](size_t begin, size_t end) { kernels().value[place(f)](begin, end, x, y); });
}

void activation_grad(Activation f, size_t n, const float* x, const float* dy, float* dx) {
  parallel_elements(n, kWork, [&](size_t begin, size_t end) {
    kernels().gradient[place(f)](begin, end, x, dy, dx);
  });
}

void gated_mlp(Activation f, size_t n, const float* gate, const float* up, float* y) {
  parallel_elements(n, kWork, [&](size_t begin, size_t end) {
    kernels().gated[place(f)](begin, end, gate, up, y);
  });
}

void gated_mlp_grad(Activation f, size_t n, const GatedMlpGrad& args) {
  parallel_elements(n, kWork, [&](size_t begin, size_t end) {
    kernels().gated_gradient[place(f)](begin, end, args);
  });
}

}  // namespace llmkit
