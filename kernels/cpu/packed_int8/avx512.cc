#include "cpu/packed_int8/kernels_avx512.h"

namespace llmkit {

const PackedKernels packed_int8_avx512 = kManyKernels;
const PackedKernels packed_int8_avx512_few = kFewKernels;

}  // namespace llmkit
