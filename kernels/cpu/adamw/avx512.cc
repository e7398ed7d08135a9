#include "base/simd/avx512.h"

#include "cpu/adamw/adamw.h"
#include "cpu/adamw/generic.h"

namespace llmkit {

const AdamwKernels adamw_f32_avx512 = {adamw_run};

}  // namespace llmkit
