#include "base/simd/neon.h"

#include "cpu/adamw/adamw.h"
#include "cpu/adamw/generic.h"

namespace llmkit {

const AdamwKernels adamw_f32_neon = {adamw_run};

}  // namespace llmkit
