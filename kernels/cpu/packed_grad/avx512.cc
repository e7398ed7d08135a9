#include "base/simd/avx512.h"

#include "cpu/packed_grad/generic.h"

namespace llmkit {

const PackedGradKernels packed_grad_avx512 = {sizeof(float), pack_floats,       pack_float_columns,
                                              decode_floats, product_of_floats, transpose_block};

}  // namespace llmkit
