#pragma once

#include "cpu/adamw/adamw.h"
#include "cuda/base/cuda.h"

namespace llmkit::cuda {

/// adamw of cpu/adamw/adamw.h over arrays of the device: the same operations in the same order, so
/// that it gives the bits of a CPU with fused multiply-adds.
cudaError_t adamw(size_t n, const AdamwState& state, const AdamwHyper& hyper, cudaStream_t stream);

/// Values that share a scale in the states of adamw_8bit.
constexpr size_t kStateBlock = 256;

/// m and v in 8 bits: value i is kDynamicMap[code] · scale[i / 256], in the two maps of
/// dynamic_map.h. Zeroed memory is the state before the first step.
struct Adamw8State {
  float* parameter;
  const float* gradient;
  uint8_t *m, *v;              // [n] codes
  float *m_scales, *v_scales;  // [ceil(n / 256)], the largest magnitude of each block
};

/// adamw with the states read from 8 bits and rounded to them again, as in
/// https://arxiv.org/abs/2110.02861; the parameter's step is made with the states before rounding.
cudaError_t adamw_8bit(size_t n, const Adamw8State& state, const AdamwHyper& hyper,
                       cudaStream_t stream);

}  // namespace llmkit::cuda
