#include "base/simd/avx2.h"

#include "cpu/dropout/dropout.h"
#include "cpu/dropout/generic.h"

namespace llmkit {

const DropoutKernels dropout_f32_avx2 = {dropout_row};

}  // namespace llmkit
