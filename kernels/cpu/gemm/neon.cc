#include "base/simd/neon.h"

#include "cpu/gemm/gemm.h"
#include "cpu/gemm/generic.h"

namespace llmkit {

const GemmKernels gemm_f32_neon = {dot_product, axpy_product};

}  // namespace llmkit
