#pragma once

#include "cpu/norm/norm.h"
#include "cuda/base/elements.h"

namespace llmkit::cuda {

// The functions of cpu/norm/norm.h over arrays of the device.

/// bias may be null; y may be x, of one type. rounded [rows, cols]: y in bf16 as well, for a
/// product that follows; may be null.
cudaError_t norm(const NormArgs& args, const float* bias, const Elements& y, bf16* rounded,
                 cudaStream_t stream);

/// dx may be dy. dx, dweight and dbias [cols] may be null. The last two are added up over slices of
/// 128 rows, in order within a slice and over the slices.
struct NormGradArgs {
  NormArgs norm;
  const float* dy;
  float* dx;
  float* dweight;
  float* dbias;
};
size_t norm_grad_workspace(const NormGradArgs& args);
/// workspace: norm_grad_workspace bytes, aligned to 16.
cudaError_t norm_grad(const NormGradArgs& args, void* workspace, cudaStream_t stream);

}  // namespace llmkit::cuda
