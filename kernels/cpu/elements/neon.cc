#include "base/simd/neon.h"

#include "base/simd/bf16.h"
#include "cpu/elements/elements.h"

namespace llmkit {

const ElementsKernels elements_bf16_neon = {from_bf16, to_bf16};

}  // namespace llmkit
