#include "base/simd/avx512.h"
#include "cpu/packed_bf16/columns_avx512_bf16.h"
#include "cpu/packed_bf16/few.h"
#include "cpu/packed_bf16/many.h"
#include "cpu/packed_bf16/prepare.h"

namespace llmkit {

const PackedKernels packed_bf16_avx512_bf16 = {
    prepare, few,  many, kFewRows, kPlainTiles, sizeof(Value), 1, 0,
    nullptr, true, true, nullptr,  false,       1,             true};

}  // namespace llmkit
