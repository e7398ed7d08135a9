#include "base/simd/scalar.h"

#include "cpu/split/generic.h"

namespace llmkit {

const SplitKernels split_scalar = {split};

}  // namespace llmkit
