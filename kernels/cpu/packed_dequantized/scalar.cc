#include "base/simd/scalar.h"

#include "cpu/packed_dequantized/generic.h"

namespace llmkit {

const DequantizeKernels packed_dequantized_scalar = {dequantize};

}  // namespace llmkit
