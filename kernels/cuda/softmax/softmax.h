#pragma once

#include "cpu/softmax/softmax.h"
#include "cuda/base/cuda.h"

namespace llmkit::cuda {

/// softmax of cpu/softmax/softmax.h over arrays of the device.
cudaError_t softmax(size_t rows, size_t cols, const float* x, float* y, cudaStream_t stream);

}  // namespace llmkit::cuda
