#pragma once

#include "cpu/dropout/dropout.h"
#include "cuda/base/elements.h"

namespace llmkit::cuda {

/// dropout of cpu/dropout/dropout.h over arrays of the device, bit for bit.
cudaError_t dropout(const DropoutArgs& args, cudaStream_t stream);

}  // namespace llmkit::cuda
