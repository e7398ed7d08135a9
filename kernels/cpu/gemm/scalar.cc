#include "base/simd/scalar.h"

#include "cpu/gemm/gemm.h"
#include "cpu/gemm/generic.h"

namespace llmkit {

const GemmKernels gemm_f32_scalar = {dot_product, axpy_product};

}  // namespace llmkit
