#include "base/simd/scalar.h"

#include "cpu/weight/generic.h"
#include "cpu/weight/weight.h"

namespace llmkit {

const WeightKernels weight_f32_scalar = {decode, fused_product};

}  // namespace llmkit
