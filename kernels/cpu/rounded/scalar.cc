#include "base/simd/scalar.h"

#include "cpu/rounded/generic.h"

namespace llmkit {

const RoundedKernels rounded_scalar = {pack_rows, pack_columns, transpose_matrix};

}  // namespace llmkit
