#include "base/simd/avx512.h"
#include "cpu/packed_bf16/columns_avx512_bf16.h"
#include "cpu/packed_bf16/few.h"
#include "cpu/packed_bf16/many.h"
#include "cpu/packed_bf16/prepare.h"

namespace llmkit {
namespace {

constexpr PackedKernels kernels() {
  PackedKernels kernels = {prepare, few, many, kFewRows, kPlainTiles, sizeof(Value)};
  kernels.takes_halves = kernels.code_order = kernels.plain_halves = true;
  return kernels;
}

}  // namespace

const PackedKernels packed_bf16_avx512_bf16 = kernels();

}  // namespace llmkit
