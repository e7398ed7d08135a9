#include "base/simd/avx2.h"

#include "cpu/cross_entropy/cross_entropy.h"
#include "cpu/cross_entropy/generic.h"

namespace llmkit {

const CrossEntropyKernels cross_entropy_f32_avx2 = {chunk_sums, combine, chunk_gradient,
                                                    rounded_gradient, add_rows};

}  // namespace llmkit
