#include "base/simd/avx2.h"

#include "cpu/packed_int8/generic.h"

namespace llmkit {

const PackedKernels packed_int8_avx2 = {prepare_int8, few_int8,    many_int8,
                                        kFewRows,     kPanelTiles, 1};

}  // namespace llmkit
