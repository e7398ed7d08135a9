#pragma once

#include "cpu/activation/activation.h"
#include "cuda/base/elements.h"

namespace llmkit::cuda {

// The functions of cpu/activation/activation.h over arrays of the device.

cudaError_t activation(Activation f, size_t n, const ConstElements& x, const Elements& y,
                       cudaStream_t stream);
cudaError_t activation_grad(Activation f, size_t n, const ConstElements& x, const float* dy,
                            float* dx, cudaStream_t stream);

// gate and up are stored alike.

/// rounded [n]: y in bf16 as well, for a product that follows; may be null.
cudaError_t gated_mlp(Activation f, size_t n, const ConstElements& gate, const ConstElements& up,
                      const Elements& y, bf16* rounded, cudaStream_t stream);
cudaError_t gated_mlp_grad(Activation f, size_t n, const GatedMlpGrad& args, cudaStream_t stream);

}  // namespace llmkit::cuda
