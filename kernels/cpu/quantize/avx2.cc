#include "base/simd/avx2.h"

#include "cpu/quantize/generic.h"

namespace llmkit {

const QuantizeKernels quantize_avx2 = {groups, pack_nibbles, square_sums};

}  // namespace llmkit
