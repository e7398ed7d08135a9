#include "base/simd/avx2.h"

#include "cpu/split/generic.h"

namespace llmkit {

const SplitKernels split_avx2 = {split};

}  // namespace llmkit
