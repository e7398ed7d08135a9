#include "cpu/activation/activation.h"

#include <algorithm>

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

/// Elements that are turned to or from bf16 at a time, in the nearest cache.
constexpr size_t kBlock = 1024;

/// body(begin, count) for blocks of all n elements, with all threads.
template <typename Body>
void each_block(size_t n, const Body& body) {
  parallel_elements(n, kWork, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; i += kBlock) body(i, std::min(kBlock, end - i));
  });
}

/// A block of gate and up from what was kept of them.
struct RestoredBlock {
  float gate[kBlock], up[kBlock];
  RestoredBlock(const uint16_t* kept, size_t n, size_t begin, size_t count) {
    kernels().from_bf16(count, kept + begin, gate);
    kernels().from_bf16(count, kept + n + begin, up);
  }
};

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

void gated_mlp_keep(Activation f, size_t n, const float* gate, const float* up, float* y,
                    uint16_t* kept) {
  each_block(n, [&](size_t begin, size_t count) {
    kernels().gated[place(f)](begin, begin + count, gate, up, y);
    kernels().to_bf16(count, gate + begin, kept + begin);
    kernels().to_bf16(count, up + begin, kept + n + begin);
  });
}

void gated_mlp_kept(Activation f, size_t n, const uint16_t* kept, float* y) {
  each_block(n, [&](size_t begin, size_t count) {
    const RestoredBlock block(kept, n, begin, count);
    kernels().gated[place(f)](0, count, block.gate, block.up, y + begin);
  });
}

void gated_mlp_kept_grad(Activation f, size_t n, const GatedMlpKeptGrad& p) {
  each_block(n, [&](size_t begin, size_t count) {
    const RestoredBlock block(p.kept, n, begin, count);
    kernels().gated_gradient[place(f)](
        0, count, {block.gate, block.up, p.dy + begin, p.dgate + begin, p.dup + begin});
  });
}

void gated_mlp_grad(Activation f, size_t n, const GatedMlpGrad& args) {
  parallel_elements(n, kWork, [&](size_t begin, size_t end) {
    kernels().gated_gradient[place(f)](begin, end, args);
  });
}

}  // namespace llmkit
