#pragma once

#include "cpu/reduce/reduce.h"
#include "cuda/base/cuda.h"

namespace llmkit::cuda {

// The functions of cpu/reduce/reduce.h over arrays of the device. A long middle axis is cut in
// slices of fixed lengths, which are reduced apart and then put together in order: the order of a
// sum depends on middle and on whether inner is 1, never on outer.

size_t reduce_workspace(const ReduceArgs& args);
/// workspace: reduce_workspace bytes, aligned to 16.
cudaError_t reduce(Reduction reduction, const ReduceArgs& args, void* workspace,
                   cudaStream_t stream);

cudaError_t argmax(size_t rows, size_t cols, const float* x, int32_t* y, cudaStream_t stream);

}  // namespace llmkit::cuda
