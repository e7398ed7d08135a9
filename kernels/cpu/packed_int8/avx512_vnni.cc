#include "base/simd/avx512.h"
#include "cpu/packed_int8/product.h"

namespace llmkit {
namespace {

bool takes_many(const PackedWeight&, size_t m) { return m > kFewRows; }

}  // namespace

const PackedKernels packed_int8_avx512_vnni = {prepare_int8<kManyRows>,
                                               many_int8<kManyRows>,
                                               many_int8<kManyRows>,
                                               kFewRows,
                                               kPanelTiles,
                                               1,
                                               kManyRows,
                                               0,
                                               takes_many};
const PackedKernels packed_int8_avx512_vnni_few = {prepare_int8<kShareRows>,
                                                   few_int8<kShareRows>,
                                                   few_int8<kShareRows>,
                                                   kFewRows,
                                                   1,
                                                   1,
                                                   kShareRows};

}  // namespace llmkit
