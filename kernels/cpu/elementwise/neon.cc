#include "base/simd/neon.h"

#include "cpu/elementwise/elementwise.h"
#include "cpu/elementwise/generic.h"

namespace llmkit {

const ElementwiseKernels elementwise_f32_neon = {LLMKIT_UNARY_TABLE, LLMKIT_BINARY_TABLE};

}  // namespace llmkit
