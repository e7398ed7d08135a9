#pragma once

#include "cuda/base/tensor_map.h"
#include "cuda/base/warpgroup.h"

// Copies of whole runs of bytes by the copy engine of chips of compute capability 9.0, and the
// barriers in shared memory by which it says that they are there. It reads and writes shared memory
// by a way of its own, as the products of warpgroups do: between the two nothing has to be made
// visible.

#if defined(LLMKIT_EMULATED)
#include "cuda/emulator/bulk_copy.h"
#elif defined(LLMKIT_WARPGROUPS)

namespace llmkit::cuda {

/// Makes a barrier of 8 bytes, aligned to 8, whose phases end with `count` arrivals and all bytes
/// that were expected in them. publish_barriers() and __syncthreads() follow.
__device__ __forceinline__ void init_barrier(uint32_t barrier, uint32_t count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}
__device__ __forceinline__ void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ __forceinline__ void arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
/// Arrives, and has the phase wait for so many bytes of copies too.
__device__ __forceinline__ void arrive_expecting(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
/// Waits for the end of the barrier's phase of this parity: of its first, third, .. phase where it
/// is 0. Before the first phase has ended, that of parity 1 has.
__device__ __forceinline__ void wait_barrier(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{\n.reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

/// Queues a copy of `bytes` from global to shared memory; the barrier's phase counts them. Both
/// addresses and the size are multiples of 16.
__device__ __forceinline__ void copy_bulk(uint32_t to, const void* from, uint32_t bytes,
                                          uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(to),
      "l"(from), "r"(bytes), "r"(barrier)
      : "memory");
}

/// Queues the copy of a box of a matrix, from a column that is a multiple of 8 and a row on, to
/// where products of warpgroups read it (shared_operand): 128 bytes for each row of the box, zeros
/// where the matrix has none; the barrier's phase counts all of them. `to` is aligned to 1024.
__device__ __forceinline__ void copy_box(uint32_t to, const TensorMap& map, int column, int row,
                                         uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3}], [%4];" ::"r"(to),
      "l"(&map), "r"(column), "r"(row), "r"(barrier)
      : "memory");
}

/// Registers that a thread has from here on, a multiple of 8: a warpgroup gives some back, or takes
/// what others gave. All of its warps say so together.
template <int kRegisters>
__device__ __forceinline__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace llmkit::cuda

#endif
