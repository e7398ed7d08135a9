#pragma once

#include "cuda/base/launch.h"

// Reductions over the threads of a warp or a block. Who is added to whom depends on the number of
// threads only: lanes 16, 8, 4, 2 and 1 apart, then the warps' sums in the same way. Both partners
// of a pair make the same sum, so that every thread ends with the same bits.

namespace llmkit::cuda {

struct Total {
  static constexpr float kNothing = 0;
  static __device__ __forceinline__ float of(float a, float b) { return a + b; }
};
/// Passes over NaN, as fmaxf does.
struct Largest {
  static constexpr float kNothing = -__builtin_huge_valf();
  static __device__ __forceinline__ float of(float a, float b) { return fmaxf(a, b); }
};

/// All 32 lanes of the warp call it; every lane gets the result.
template <class Operation>
__device__ __forceinline__ float warp_reduce(float value) {
#pragma unroll
  for (int apart = kWarp / 2; apart > 0; apart /= 2)
    value = Operation::of(value, __shfl_xor_sync(kAllLanes, value, apart));
  return value;
}

/// Threads that work on one row together: the 32 of a warp, or all of a block.
template <int kThreads>
struct Team {
  static constexpr int kSize = kThreads;
  static constexpr int kBlock = kThreads == kWarp ? 256 : kThreads;
  static constexpr int kTeams = kBlock / kThreads;

  /// A launch of a team for each row.
  static Launch over(size_t rows, cudaStream_t stream) {
    return {dim3(blocks_of(rows, kTeams)), dim3(kBlock), 0, stream};
  }

  /// The row of this thread's team; it may lie after the last one. The threads of a block that is
  /// one team have one row, so that all of them may leave before a reduction.
  static __device__ __forceinline__ size_t row() {
    return size_t{blockIdx.x} * kTeams + threadIdx.x / kThreads;
  }
  /// The number of this thread in its team.
  static __device__ __forceinline__ unsigned rank() { return threadIdx.x % kThreads; }

  /// Calls body(i) for this thread's share of 0, 4, 8 ... below n.
  template <class Body>
  static __device__ __forceinline__ void each_four(size_t n, Body body) {
    for (size_t i = 4 * rank(); i < n; i += 4 * kThreads) body(i);
  }

  /// All threads of the team call it; every one gets the result.
  template <class Operation>
  static __device__ __forceinline__ float reduce(float value) {
    value = warp_reduce<Operation>(value);
    if constexpr (kThreads == kWarp) {
      return value;
    } else {
      __shared__ float of_warps[kThreads / kWarp];
      const unsigned warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
      __syncthreads();  // what the reduction before this one left has been read
      if (lane == 0) of_warps[warp] = value;
      __syncthreads();
      return warp_reduce<Operation>(lane < kThreads / kWarp ? of_warps[lane] : Operation::kNothing);
    }
  }
  static __device__ __forceinline__ float sum(float value) { return reduce<Total>(value); }
  static __device__ __forceinline__ float maximum(float value) { return reduce<Largest>(value); }
};

/// Calls launch_with(team) with the team for rows of `cols`: the number of rows plays no part, for
/// the team decides the order of a row's sums.
template <class LaunchWith>
cudaError_t with_team(size_t cols, LaunchWith launch_with) {
  if (cols <= 256) return launch_with(Team<kWarp>());
  if (cols <= 8192) return launch_with(Team<256>());
  return launch_with(Team<1024>());
}

}  // namespace llmkit::cuda
