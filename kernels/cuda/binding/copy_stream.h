#pragma once

#include "cuda/base/cuda.h"

namespace llmkit::cuda {

/// Copies between homes on the host and the device run on it, in order, beside the kernels.
cudaStream_t copy_stream();
/// An event for waits between streams; `op` is named where there is none.
cudaEvent_t new_event(const char* op);

}  // namespace llmkit::cuda
