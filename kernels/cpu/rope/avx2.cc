#include "base/simd/avx2.h"

#include "cpu/rope/generic.h"
#include "cpu/rope/rope.h"

namespace llmkit {

const RopeKernels rope_f32_avx2 = {rope_position};

}  // namespace llmkit
