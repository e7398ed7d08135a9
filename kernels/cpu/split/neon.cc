#include "base/simd/neon.h"

#include "cpu/split/generic.h"

namespace llmkit {

const SplitKernels split_neon = {split};

}  // namespace llmkit
