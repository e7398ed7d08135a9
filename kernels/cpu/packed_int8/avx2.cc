#include "base/simd/avx2.h"

#include "cpu/packed_int8/product_avx2.h"

namespace llmkit {

const PackedKernels packed_int8_avx2 = {prepare_int8<kManyRows>,
                                        few_int8<kManyRows>,
                                        many_int8<kManyRows>,
                                        kFewRows,
                                        kPanelTiles,
                                        1,
                                        kManyRows};

}  // namespace llmkit
