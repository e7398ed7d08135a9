#pragma once

#include "cpu/adamw/adamw.h"
#include "cpu/adamw/adamw_8bit.h"
#include "cuda/base/cuda.h"

namespace llmkit::cuda {

/// adamw of cpu/adamw/adamw.h over arrays of the device: the same operations in the same order, so
/// that it gives the bits of a CPU with fused multiply-adds.
cudaError_t adamw(size_t n, const AdamwState& state, const AdamwHyper& hyper, cudaStream_t stream);

/// adamw_8bit of cpu/adamw/adamw_8bit.h over arrays of the device; the same bits as well.
cudaError_t adamw_8bit(size_t n, const Adamw8State& state, const AdamwHyper& hyper,
                       cudaStream_t stream);

}  // namespace llmkit::cuda
