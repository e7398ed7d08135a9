#include "cpu/dropout/dropout.h"

#include "base/cpu_features.h"
#include "base/parallel.h"
#include "base/scratch.h"
#include "cpu/elements/elements.h"

namespace llmkit {
namespace {

const DropoutKernels& kernels() {
#define DROPOUT_KERNELS(isa, name) \
  if (runs_here(isa)) return name;
#include "cpu/dropout/kernels.inc"
#undef DROPOUT_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

}  // namespace

void dropout(const DropoutArgs& args) {
  const size_t cols = args.cols;
  parallel_for(args.rows, grain_for(8 * cols), [&](size_t begin, size_t end) {
    float* const buffer = scratch(Scratch::kWidened, cols);
    for (size_t row = begin; row < end; ++row)
      kernels().run(args, row, widened(args.x.from(row * cols), cols, buffer), args.y + row * cols);
  });
}

}  // namespace llmkit
