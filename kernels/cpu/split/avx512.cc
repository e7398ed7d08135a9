#include "base/simd/avx512.h"

#include "cpu/split/generic.h"

namespace llmkit {

const SplitKernels split_avx512 = {split};

}  // namespace llmkit
