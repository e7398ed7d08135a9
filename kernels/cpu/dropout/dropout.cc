#include "cpu/dropout/dropout.h"

#include "base/cpu_features.h"
#include "base/parallel.h"

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
  parallel_for(args.rows, grain_for(8 * args.cols),
               [&](size_t begin, size_t end) { kernels().run(args, begin, end); });
}

}  // namespace llmkit
