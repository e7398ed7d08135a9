#include "base/simd/neon.h"

#include "cpu/packed_dequantized/generic.h"

namespace llmkit {

const DequantizeKernels packed_dequantized_neon = {dequantize};

}  // namespace llmkit
