#include "cpu/rope/rope.h"

#include "base/cpu_features.h"
#include "base/parallel.h"
#include "base/scratch.h"
#include "cpu/elements/elements.h"

namespace llmkit {

const RopeKernels& rope_kernels() {
#define ROPE_KERNELS(isa, name) \
  if (runs_here(isa)) return name;
#include "cpu/rope/kernels.inc"
#undef ROPE_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

void rope(const RopeArgs& args) {
  const size_t size = args.heads * args.head_size;
  parallel_for(args.positions, grain_for(2 * size), [&](size_t begin, size_t end) {
    float* const buffer = scratch(Scratch::kWidened, 2 * size);
    for (size_t position = begin; position < end; ++position) {
      const Result y(args.y.from(position * size), buffer + size);
      const float* const x = widened(args.x.from(position * size), size, buffer);
      rope_kernels().run(args, position, x, y.values());
      y.put(size);
    }
  });
}

}  // namespace llmkit
