#include "cpu/weight/weight.h"

#include "base/cpu_features.h"

namespace llmkit {

const WeightKernels& weight_f32() {
#define WEIGHT_KERNELS(isa, name) \
  if (runs_here(isa)) return name;
#include "cpu/weight/kernels.inc"
#undef WEIGHT_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

}  // namespace llmkit
