#include "base/simd/neon.h"

#include "cpu/rounded/generic.h"

namespace llmkit {

const RoundedKernels rounded_neon = {pack_rows, pack_columns, transpose_matrix};

}  // namespace llmkit
