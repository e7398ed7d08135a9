#include "base/simd/avx2.h"

#include "cpu/gemm/gemm.h"
#include "cpu/gemm/generic.h"

namespace llmkit {

const GemmKernels gemm_f32_avx2 = {dot_product, axpy_product};

}  // namespace llmkit
