#include "cpu/gemm/gemm.h"

#include "base/cpu_features.h"

namespace llmkit {

const GemmKernels& gemm_f32() {
#define GEMM_KERNELS(isa, name) \
  if (runs_here(isa)) return name;
#include "cpu/gemm/kernels.inc"
#undef GEMM_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

}  // namespace llmkit
