#include "base/simd/avx2.h"

#include "cpu/elementwise/elementwise.h"
#include "cpu/elementwise/generic.h"

namespace llmkit {

const ElementwiseKernels elementwise_f32_avx2 = {LLMKIT_UNARY_TABLE, LLMKIT_BINARY_TABLE};

}  // namespace llmkit
