#include "base/simd/scalar.h"

#include "cpu/adamw/adamw.h"
#include "cpu/adamw/generic.h"

namespace llmkit {

const AdamwKernels adamw_f32_scalar = {adamw_run};

}  // namespace llmkit
