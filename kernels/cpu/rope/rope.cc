#include "cpu/rope/rope.h"

#include "base/cpu_features.h"
#include "base/parallel.h"

namespace llmkit {

const RopeKernels& rope_kernels() {
#define ROPE_KERNELS(isa, name) \
  if (runs_here(isa)) return name;
#include "cpu/rope/kernels.inc"
#undef ROPE_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

void rope(const RopeArgs& args) {
  const size_t work = 2 * args.heads * args.head_size;
  parallel_for(args.positions, grain_for(work),
               [&](size_t begin, size_t end) { rope_kernels().run(args, begin, end); });
}

}  // namespace llmkit
