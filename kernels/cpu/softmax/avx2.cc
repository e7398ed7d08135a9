#include "base/simd/avx2.h"

#include "cpu/softmax/generic.h"
#include "cpu/softmax/softmax.h"

namespace llmkit {

const SoftmaxKernels softmax_f32_avx2 = {softmax_rows};

}  // namespace llmkit
