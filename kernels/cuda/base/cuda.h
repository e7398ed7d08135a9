#pragma once

#include <cstddef>
#include <cstdint>

// What a file of kernels includes instead of CUDA's headers: with LLMKIT_EMULATED the same file is
// compiled by a C++ compiler and runs on the host (cuda/emulator), one fiber for each thread.
#ifdef LLMKIT_EMULATED
#include "cuda/emulator/cuda.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#endif

namespace llmkit::cuda {

using bf16 = __nv_bfloat16;
using bf16x2 = __nv_bfloat162;

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

#if defined(__CUDACC__) && !defined(LLMKIT_EMULATED)
/// The dynamic shared memory of the block.
__device__ __forceinline__ char* dynamic_shared() {
  extern __shared__ __align__(1024) char llmkit_dynamic_shared[];
  return llmkit_dynamic_shared;
}

/// Where a byte of dynamic shared memory lies, as the instructions of instructions.h want it.
__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
#endif

}  // namespace llmkit::cuda
