#include "base/simd/neon.h"

#include "cpu/packed_int8/generic.h"
#include "cpu/packed_int8/prepare.h"

namespace llmkit {

const PackedKernels packed_int8_neon = {prepare_int8, few_int8,    many_int8,
                                        kFewRows,     kPanelTiles, 1};

}  // namespace llmkit
