#include "base/simd/avx512.h"

#include "cpu/softmax/generic.h"
#include "cpu/softmax/softmax.h"

namespace llmkit {

const SoftmaxKernels softmax_f32_avx512 = {softmax_rows};

}  // namespace llmkit
