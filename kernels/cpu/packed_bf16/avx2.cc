#include "base/simd/avx2.h"

#include "cpu/packed_bf16/four_bit_avx2.h"
#include "cpu/packed_bf16/few.h"
#include "cpu/packed_bf16/many.h"
#include "cpu/packed_bf16/prepare.h"

namespace llmkit {

const PackedKernels packed_bf16_avx2 = {
    prepare, few, many, kFewRows, kPlainTiles, sizeof(Value), 1, 0, nullptr, true};

}  // namespace llmkit
