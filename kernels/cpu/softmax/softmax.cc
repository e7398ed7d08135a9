#include "cpu/softmax/softmax.h"

#include "base/cpu_features.h"
#include "base/parallel.h"

namespace llmkit {
namespace {

const SoftmaxKernels& kernels() {
#define SOFTMAX_KERNELS(isa, name) \
  if (runs_here(isa)) return name;
#include "cpu/softmax/kernels.inc"
#undef SOFTMAX_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

}  // namespace

void softmax(size_t rows, size_t cols, const float* x, float* y) {
  parallel_for(rows, grain_for(16 * cols), [&](size_t begin, size_t end) {
    kernels().softmax(end - begin, cols, x + begin * cols, y + begin * cols);
  });
}

}  // namespace llmkit
