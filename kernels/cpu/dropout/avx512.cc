#include "base/simd/avx512.h"

#include "cpu/dropout/dropout.h"
#include "cpu/dropout/generic.h"

namespace llmkit {

const DropoutKernels dropout_f32_avx512 = {dropout_row};

}  // namespace llmkit
