#include "base/simd/scalar.h"

#include "cpu/dropout/dropout.h"
#include "cpu/dropout/generic.h"

namespace llmkit {

const DropoutKernels dropout_f32_scalar = {dropout_row};

}  // namespace llmkit
