#include "base/simd/avx512.h"

#include "cpu/quantize/generic.h"

namespace llmkit {

const QuantizeKernels quantize_avx512 = {groups, pack_nibbles, square_sums};

}  // namespace llmkit
