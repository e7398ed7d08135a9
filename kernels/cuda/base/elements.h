#pragma once

#include "base/elements.h"
#include "cuda/base/cuda.h"

namespace llmkit::cuda {

/// use(values), with a pointer of their type.
template <class Use>
auto with_elements(const ConstElements& x, const Use& use) {
  return x.is_bf16 ? use(static_cast<const bf16*>(x.data)) : use(static_cast<const float*>(x.data));
}
template <class Use>
auto with_elements(const Elements& y, const Use& use) {
  return y.is_bf16 ? use(static_cast<bf16*>(y.data)) : use(static_cast<float*>(y.data));
}

/// y[i] = value, where a template for both types would double a large kernel for its last line.
__device__ __forceinline__ void store_element(const Elements& y, size_t i, float value) {
  if (y.is_bf16)
    static_cast<bf16*>(y.data)[i] = __float2bfloat16_rn(value);
  else
    static_cast<float*>(y.data)[i] = value;
}

}  // namespace llmkit::cuda
