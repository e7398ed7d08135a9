#include "base/simd/avx2.h"

#include "cpu/adamw/adamw.h"
#include "cpu/adamw/generic.h"

namespace llmkit {

const AdamwKernels adamw_f32_avx2 = {adamw_run};

}  // namespace llmkit
