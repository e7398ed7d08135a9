#include "cpu/reduce/reduce.h"

#include <algorithm>

#include "base/cpu_features.h"
#include "base/parallel.h"

namespace llmkit {
namespace {

const ReduceKernels& kernels() {
#define REDUCE_KERNELS(isa, name) \
  if (runs_here(isa)) return name;
#include "cpu/reduce/kernels.inc"
#undef REDUCE_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

}  // namespace

void reduce(Reduction reduction, const ReduceArgs& args) {
  const size_t place = static_cast<size_t>(reduction);
  if (args.inner == 1) {
    parallel_for(args.outer, grain_for(2 * args.middle),
                 [&](size_t begin, size_t end) { kernels().rows[place](args, begin, end); });
    return;
  }
  const size_t width = 128, strips = (args.inner + width - 1) / width;
  parallel_for(args.outer * strips, grain_for(4 * args.middle * std::min(width, args.inner)),
               [&](size_t begin, size_t end) {
                 for (size_t i = begin; i < end; ++i) {
                   const size_t at = i % strips * width;
                   kernels().middle[place](args, i / strips, at, std::min(at + width, args.inner));
                 }
               });
}

void argmax(size_t rows, size_t cols, const float* x, int32_t* y) {
  parallel_for(rows, grain_for(4 * cols), [&](size_t begin, size_t end) {
    kernels().argmax(end - begin, cols, x + begin * cols, y + begin);
  });
}

}  // namespace llmkit
