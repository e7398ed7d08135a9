#include "base/simd/neon.h"

#include "cpu/norm/generic.h"
#include "cpu/norm/norm.h"

namespace llmkit {

const NormKernels norm_f32_neon = {row_statistics, forward, grad_weight, grad_input};

}  // namespace llmkit
