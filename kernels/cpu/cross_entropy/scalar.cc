#include "base/simd/scalar.h"

#include "cpu/cross_entropy/cross_entropy.h"
#include "cpu/cross_entropy/generic.h"

namespace llmkit {

const CrossEntropyKernels cross_entropy_f32_scalar = {chunk_sums, combine, chunk_gradient,
                                                      rounded_gradient, add_rows};

}  // namespace llmkit
