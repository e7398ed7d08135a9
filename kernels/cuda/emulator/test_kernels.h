#pragma once

#include "cuda/base/tensor_map.h"

// Kernels with the mistakes that the emulator is there to find.

namespace llmkit::cuda {

enum class Mistake {
  kThreadLeavesBeforeBarrier,
  kBarriersDiffer,
  kLaneLeavesBeforeShuffle,
  kMaskLeavesOutReader,
  kWarpWaitsForBarrier,
  kLoadOutsideOfSharedMemory,
  kStoreBeyondSharedMemory,
  kMatrixRowNotAligned,
  kProductOfUnpublishedCopy,
  kOperandNotAligned,
  kBulkCopyNotAligned,
  kBarrierNotPublished,
  kBarrierOverwritten,
  kTooManyArrivals,
  kWaitForNothing,
  kBlockEndsBeforeCopy,
};

/// A launch that ends the process when it runs.
cudaError_t make_mistake(Mistake mistake, cudaStream_t stream);

/// to [n] = 1.
cudaError_t write_ones(float* to, size_t n, cudaStream_t stream);

/// to [i] = i + step, by way of shared memory and the thread `step` further on; without a barrier
/// in between some read what is not there yet. [64]
cudaError_t pass_on(int* to, int step, bool with_barrier, cudaStream_t stream);

/// to [i] = from [i] through a copy to shared memory. [128]
cudaError_t copy_through(const float* from, float* to, bool with_wait, cudaStream_t stream);

/// The same by one bulk copy, for which all threads wait at its barrier.
cudaError_t copy_bulk_through(const float* from, float* to, bool with_wait, cudaStream_t stream);

/// to [16, 64] = what two boxes of 8 rows lie like in shared memory, from column 64 of a matrix on.
cudaError_t copy_boxes(const Bf16Matrix& matrix, uint16_t* to, cudaStream_t stream);

/// to [i] = what shared memory holds in a block that writes none, and then 1. [64]
cudaError_t read_unwritten(float* to, cudaStream_t stream);

}  // namespace llmkit::cuda
