#include "base/simd/neon.h"

#include "cpu/softmax/generic.h"
#include "cpu/softmax/softmax.h"

namespace llmkit {

const SoftmaxKernels softmax_f32_neon = {softmax_rows};

}  // namespace llmkit
