#include "base/simd/avx512.h"

#include "cpu/rope/generic.h"
#include "cpu/rope/rope.h"

namespace llmkit {

const RopeKernels rope_f32_avx512 = {rope_position};

}  // namespace llmkit
