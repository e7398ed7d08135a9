#include "cpu/activation/activation.h"

#include <algorithm>

#include "base/cpu_features.h"
#include "base/parallel.h"
#include "cpu/elements/elements.h"

namespace llmkit {

const ActivationKernels& activation_kernels() {
#define ACTIVATION_KERNELS(isa, name) \
  if (runs_here(isa)) return name;
#include "cpu/activation/kernels.inc"
#undef ACTIVATION_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

namespace {

/// Operations for an element: an exponential and what is around it.
constexpr size_t kWork = 16;
size_t place(Activation f) { return static_cast<size_t>(f); }

/// Elements that are computed at a time, so that those of bf16 are float32 in the nearest cache.
constexpr size_t kBlock = 1024;

/// body(begin, count) for blocks of all n elements, with all threads.
template <typename Body>
void each_block(size_t n, const Body& body) {
  parallel_elements(n, kWork, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; i += kBlock) body(i, std::min(kBlock, end - i));
  });
}

}  // namespace

void activation(Activation f, size_t n, const ConstElements& x, const Elements& y) {
  each_block(n, [&](size_t begin, size_t count) {
    float values[kBlock], results[kBlock];
    const Result to(y.from(begin), results);
    activation_kernels().value[place(f)](count, widened(x.from(begin), count, values), to.values());
    to.put(count);
  });
}

void activation_grad(Activation f, size_t n, const ConstElements& x, const float* dy, float* dx) {
  each_block(n, [&](size_t begin, size_t count) {
    float values[kBlock];
    activation_kernels().gradient[place(f)](count, widened(x.from(begin), count, values),
                                            dy + begin, dx + begin);
  });
}

void gated_mlp(Activation f, size_t n, const ConstElements& gate, const ConstElements& up,
               const Elements& y) {
  each_block(n, [&](size_t begin, size_t count) {
    float gates[kBlock], ups[kBlock], results[kBlock];
    const Result to(y.from(begin), results);
    activation_kernels().gated[place(f)](count, widened(gate.from(begin), count, gates),
                                         widened(up.from(begin), count, ups), to.values());
    to.put(count);
  });
}

void gated_mlp_grad(Activation f, size_t n, const GatedMlpGrad& p) {
  each_block(n, [&](size_t begin, size_t count) {
    float gates[kBlock], ups[kBlock];
    activation_kernels().gated_gradient[place(f)](
        count, {widened(p.gate.from(begin), count, gates), widened(p.up.from(begin), count, ups),
                p.dy + begin, p.dgate + begin, p.dup + begin});
  });
}

}  // namespace llmkit
