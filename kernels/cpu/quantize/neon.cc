#include "base/simd/neon.h"

#include "cpu/quantize/generic.h"

namespace llmkit {

const QuantizeKernels quantize_neon = {groups, pack_nibbles, square_sums};

}  // namespace llmkit
