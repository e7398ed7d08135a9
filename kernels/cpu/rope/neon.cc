#include "base/simd/neon.h"

#include "cpu/rope/generic.h"
#include "cpu/rope/rope.h"

namespace llmkit {

const RopeKernels rope_f32_neon = {rope_position};

}  // namespace llmkit
