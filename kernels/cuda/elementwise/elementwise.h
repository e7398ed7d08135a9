#pragma once

#include "cpu/elementwise/elementwise.h"
#include "cuda/base/elements.h"

namespace llmkit::cuda {

// The functions of cpu/elementwise/elementwise.h over arrays of the device, their errors a few
// units in the last place as there.

cudaError_t unary(size_t op, size_t n, const float* x, float* y, cudaStream_t stream);
cudaError_t binary(size_t op, const BinaryArgs& args, cudaStream_t stream);

/// y = x, n values: the nearest ones, ties to even, where y is bf16. They do not overlap.
cudaError_t convert(size_t n, const ConstElements& x, const Elements& y, cudaStream_t stream);

}  // namespace llmkit::cuda
