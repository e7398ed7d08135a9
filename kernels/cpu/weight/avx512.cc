#include "base/simd/avx512.h"

#include "cpu/weight/generic.h"
#include "cpu/weight/weight.h"

namespace llmkit {

const WeightKernels weight_f32_avx512 = {decode, fused_product};

}  // namespace llmkit
