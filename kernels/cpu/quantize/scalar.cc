#include "base/simd/scalar.h"

#include "cpu/quantize/generic.h"

namespace llmkit {

const QuantizeKernels quantize_scalar = {groups, pack_nibbles, square_sums};

}  // namespace llmkit
