#include "base/simd/scalar.h"

#include "cpu/packed_bf16/four_bit_lookup.h"
#include "cpu/packed_bf16/few.h"
#include "cpu/packed_bf16/many.h"
#include "cpu/packed_bf16/prepare.h"

namespace llmkit {

const PackedKernels packed_bf16_scalar = {
    prepare, few, many, kFewRows, kPlainTiles, sizeof(Value), 1, 0, nullptr, true};

}  // namespace llmkit
