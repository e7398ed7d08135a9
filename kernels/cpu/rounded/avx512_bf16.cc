#include "base/simd/avx512.h"
#include "cpu/rounded/generic.h"

namespace llmkit {

const RoundedKernels rounded_avx512_bf16 = {pack_rows, pack_columns, transpose_matrix};

}  // namespace llmkit
