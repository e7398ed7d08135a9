#include "base/simd/neon.h"

#include "cpu/dropout/dropout.h"
#include "cpu/dropout/generic.h"

namespace llmkit {

const DropoutKernels dropout_f32_neon = {dropout_row};

}  // namespace llmkit
