#include "base/simd/scalar.h"

#include "cpu/softmax/generic.h"
#include "cpu/softmax/softmax.h"

namespace llmkit {

const SoftmaxKernels softmax_f32_scalar = {softmax_rows};

}  // namespace llmkit
