#pragma once

#include "cpu/matmul/matmul.h"
#include "cuda/base/cuda.h"

namespace llmkit::cuda {

/// matmul of cpu/matmul/matmul.h over arrays of the device, in float32. An output's bits depend on
/// its own row of a and column of b alone.
size_t matmul_workspace(const MatmulArgs& args);
cudaError_t matmul(const MatmulArgs& args, void* workspace, cudaStream_t stream);

}  // namespace llmkit::cuda
