#pragma once

#include <cstring>

#include "cuda/base/cuda.h"

#ifdef LLMKIT_EMULATED
#include "cuda/emulator/instructions.h"
#else
#include "cuda/base/ptx.h"
#endif

namespace llmkit::cuda {

/// The bits of two bf16 values, `low` in the lower half.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  const bf16x2 pair = __floats2bfloat162_rn(low, high);
  uint32_t bits;
  memcpy(&bits, &pair, sizeof(bits));
  return bits;
}

/// x, of which the compiler knows nothing: what follows from it is worked out again each time,
/// instead of once before a loop that has no registers to hold it in.
__device__ __forceinline__ int opaque(int x) {
  asm volatile("" : "+r"(x));
  return x;
}

}  // namespace llmkit::cuda
