#include "base/simd/avx512.h"

#include "cpu/packed_dequantized/generic.h"

namespace llmkit {

const DequantizeKernels packed_dequantized_avx512 = {dequantize};

}  // namespace llmkit
