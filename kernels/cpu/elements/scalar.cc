#include "base/simd/scalar.h"

#include "base/simd/bf16.h"
#include "cpu/elements/elements.h"

namespace llmkit {

const ElementsKernels elements_bf16_scalar = {from_bf16, to_bf16};

}  // namespace llmkit
