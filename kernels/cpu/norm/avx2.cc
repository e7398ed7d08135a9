#include "base/simd/avx2.h"

#include "cpu/norm/generic.h"
#include "cpu/norm/norm.h"

namespace llmkit {

const NormKernels norm_f32_avx2 = {row_statistics, forward, grad_weight, grad_input};

}  // namespace llmkit
