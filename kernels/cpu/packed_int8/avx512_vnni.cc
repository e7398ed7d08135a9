#include "cpu/packed_int8/kernels_avx512.h"

namespace llmkit {

const PackedKernels packed_int8_avx512_vnni = kManyKernels;
const PackedKernels packed_int8_avx512_vnni_few = kFewKernels;

}  // namespace llmkit
