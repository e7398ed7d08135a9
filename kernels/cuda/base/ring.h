#pragma once

#include "cuda/base/bulk_copy.h"

// On chips of compute capability 9.0 a warp of its own fills the ring of stages by bulk copies,
// and two warpgroups make products of what is in it; barriers say when a stage is full or empty.

namespace llmkit::cuda {

/// Threads of a block: two warpgroups that use the ring and one that fills it.
constexpr int kUsers = 256, kGroupThreads = kUsers + 128;

#ifdef LLMKIT_WARPGROUPS

/// Registers of a thread, of what a block of 384 threads has: copying takes few.
constexpr int kFillerRegisters = 24, kUserRegisters = 240;

/// The barriers of a ring; steps are counted from 0 by all. A stage is full once kFillers warps say
/// so and the copies of bytes that they expect are there.
template <int kStages, int kFillers = 1>
struct Ring {
  uint32_t barriers;  // [2, kStages] of 8 bytes

  /// All threads of the block call it; __syncthreads() follows.
  __device__ __forceinline__ void init() const {
    if (threadIdx.x != 0) return;
    for (int stage = 0; stage < kStages; ++stage) {
      init_barrier(full(stage), kFillers);
      init_barrier(empty(stage), kUsers / kWarp);
    }
    publish_barriers();
  }
  __device__ __forceinline__ uint32_t full(int step) const { return barriers + step % kStages * 8; }
  __device__ __forceinline__ uint32_t empty(int step) const { return full(step) + kStages * 8; }
  static __device__ __forceinline__ uint32_t parity(int step) { return step / kStages & 1; }

  /// The filler begins a step: waits for its stage, which will get so many bytes.
  __device__ __forceinline__ void begin_fill(int step, uint32_t bytes) const {
    wait_empty(step);
    if (threadIdx.x % kWarp == 0) arrive_expecting(full(step), bytes);
    __syncwarp();
  }
  /// The same for a filler that writes the stage itself and then says so.
  __device__ __forceinline__ void wait_empty(int step) const {
    wait_barrier(empty(step), parity(step) ^ 1);
  }
  __device__ __forceinline__ void end_fill(int step) const {
    __syncwarp();
    if (threadIdx.x % kWarp == 0) arrive(full(step));
  }
  __device__ __forceinline__ void wait(int step) const { wait_barrier(full(step), parity(step)); }
  /// A warp has read all that it needs.
  __device__ __forceinline__ void release(int step) const {
    __syncwarp();
    if (threadIdx.x % kWarp == 0) arrive(empty(step));
  }
};

/// A barrier of 8 bytes at which all threads that use the ring wait for one another, once.
struct Meeting {
  uint32_t barrier;

  /// All threads of the block call it, after those of the ring; __syncthreads() follows.
  __device__ __forceinline__ void init() const {
    if (threadIdx.x != 0) return;
    init_barrier(barrier, kUsers / kWarp);
    publish_barriers();
  }
  __device__ __forceinline__ void wait() const {
    __syncwarp();
    if (threadIdx.x % kWarp == 0) arrive(barrier);
    wait_barrier(barrier, 0);
  }
};

/// Runs `fill` in kFillers warps of the third warpgroup of a block and `use` in the other two. One
/// that only queues copies needs few registers, more of them that copy themselves some more.
template <int kFillers = 1, class Fill, class Use>
__device__ __forceinline__ void fill_and_use(const Fill& fill, const Use& use) {
  constexpr int kMore = kFillers > 1 ? 16 : 0;
  if (threadIdx.x >= kUsers) {
    give_registers<kFillerRegisters + kMore>();
    if (threadIdx.x < kUsers + kFillers * kWarp) fill();
  } else {
    take_registers<kUserRegisters - kMore / 2>();
    use();
  }
}

/// Two warpgroups that queue their products in turn, so that the products of one run while the
/// other does what is between them.
struct Turns {
  uint32_t barriers;  // [2] of 8 bytes

  /// All threads of the block call it; __syncthreads() follows.
  __device__ __forceinline__ void init() const {
    if (threadIdx.x != 0) return;
    for (int group = 0; group < 2; ++group) init_barrier(barriers + 8 * group, kUsers / 2 / kWarp);
    publish_barriers();
  }
  /// Waits for turn `turn` of a warpgroup, counted from 0; the first one's first is there at once.
  __device__ __forceinline__ void wait(int group, int turn) const {
    wait_barrier(barriers + 8 * group, (turn + 1 - group) & 1);
  }
  /// The other's turn.
  __device__ __forceinline__ void pass(int group) const {
    __syncwarp();
    if (threadIdx.x % kWarp == 0) arrive(barriers + 8 * (1 - group));
  }
};

#endif

}  // namespace llmkit::cuda
