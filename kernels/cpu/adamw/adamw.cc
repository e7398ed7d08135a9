#include "cpu/adamw/adamw.h"

#include "base/cpu_features.h"
#include "base/parallel.h"
#include "cpu/adamw/factors.h"

namespace llmkit {

const AdamwKernels& adamw_kernels() {
#define ADAMW_KERNELS(isa, name) \
  if (runs_here(isa)) return name;
#include "cpu/adamw/kernels.inc"
#undef ADAMW_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

void adamw(size_t n, const AdamwState& state, const AdamwHyper& hyper) {
  const AdamwFactors factors = adamw_factors(hyper);
  const AdamwKernels& kernels = adamw_kernels();
  parallel_elements(n, 8,
                    [&](size_t begin, size_t end) { kernels.run(begin, end, state, factors); });
}

}  // namespace llmkit
