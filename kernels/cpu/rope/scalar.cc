#include "base/simd/scalar.h"

#include "cpu/rope/generic.h"
#include "cpu/rope/rope.h"

namespace llmkit {

const RopeKernels rope_f32_scalar = {rope_position};

}  // namespace llmkit
