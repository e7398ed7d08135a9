#pragma once

#include "cpu/arrange/arrange.h"
#include "cuda/base/cuda.h"
#include "cuda/base/id_report.h"

namespace llmkit::cuda {

// Moving values about, as cpu/arrange/arrange.h does, in arrays of the device. What only moves
// takes words of four bytes: float32 or int32.

cudaError_t strided_copy(const StridedCopyArgs& args, cudaStream_t stream);

cudaError_t transpose(const TransposeArgs& args, cudaStream_t stream);

/// y [n] = word.
cudaError_t fill(size_t n, uint32_t word, uint32_t* y, cudaStream_t stream);

/// A row of an id outside [0, axis) is NaN, and the id is reported: the host cannot look at the ids
/// without waiting.
cudaError_t gather(const GatherArgs& args, cudaStream_t stream, IdReport* report = nullptr);

/// Adds row i of x [count, cols] to row ids[i] of y [rows, cols], i ascending, as the CPU does; an
/// id outside [0, rows) adds nothing and is reported.
struct ScatterAddArgs {
  size_t count, rows, cols;
  const float* x;
  const int32_t* ids;
  float* y;
};
cudaError_t scatter_add(const ScatterAddArgs& args, cudaStream_t stream,
                        IdReport* report = nullptr);

}  // namespace llmkit::cuda
