#include "base/simd/avx2.h"

#include "cpu/rounded/generic.h"

namespace llmkit {

const RoundedKernels rounded_avx2 = {pack_rows, pack_columns, transpose_matrix};

}  // namespace llmkit
