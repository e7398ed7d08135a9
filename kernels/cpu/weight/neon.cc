#include "base/simd/neon.h"

#include "cpu/weight/generic.h"
#include "cpu/weight/weight.h"

namespace llmkit {

const WeightKernels weight_f32_neon = {decode, fused_product};

}  // namespace llmkit
