#include "base/simd/scalar.h"

#include "cpu/packed_int8/generic.h"

namespace llmkit {

const PackedKernels packed_int8_scalar = {prepare_int8, few_int8,    many_int8,
                                          kFewRows,     kPanelTiles, 1};

}  // namespace llmkit
