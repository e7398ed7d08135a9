#pragma once

#include "cpu/rope/rope.h"
#include "cuda/base/elements.h"

namespace llmkit::cuda {

/// rope of cpu/rope/rope.h over arrays of the device.
cudaError_t rope(const RopeArgs& args, cudaStream_t stream);

}  // namespace llmkit::cuda
