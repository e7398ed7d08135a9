#include "base/simd/avx2.h"

#include "cpu/packed_dequantized/generic.h"

namespace llmkit {

const DequantizeKernels packed_dequantized_avx2 = {dequantize};

}  // namespace llmkit
