#pragma once

#include <type_traits>

#include "base/elements.h"
#include "cuda/base/cuda.h"

namespace llmkit::cuda {

/// What a pointer points to: float or bf16, as kernels are made for it.
template <class Pointer>
using ElementOf = std::remove_const_t<std::remove_pointer_t<Pointer>>;

/// use(values), with a pointer of their type.
template <class Use>
auto with_elements(const ConstElements& x, const Use& use) {
  return x.is_bf16 ? use(static_cast<const bf16*>(x.data)) : use(static_cast<const float*>(x.data));
}
template <class Use>
auto with_elements(const Elements& y, const Use& use) {
  return y.is_bf16 ? use(static_cast<bf16*>(y.data)) : use(static_cast<float*>(y.data));
}

// Where a template for both types would double a large kernel for a line of it.

__device__ __forceinline__ float load_element(const ConstElements& x, size_t i) {
  return x.is_bf16 ? __bfloat162float(static_cast<const bf16*>(x.data)[i])
                   : static_cast<const float*>(x.data)[i];
}
/// y[i] = value
__device__ __forceinline__ void store_element(const Elements& y, size_t i, float value) {
  if (y.is_bf16)
    static_cast<bf16*>(y.data)[i] = __float2bfloat16_rn(value);
  else
    static_cast<float*>(y.data)[i] = value;
}

/// y[i] = first, y[i + 1] = second, in one access where both lie in one place of their size.
__device__ __forceinline__ void store_pair(const Elements& y, size_t i, float first, float second) {
  const auto is_aligned = [](const void* at, size_t bytes) {
    return reinterpret_cast<uintptr_t>(at) % bytes == 0;
  };
  if (y.is_bf16) {
    bf16* const to = static_cast<bf16*>(y.data) + i;
    if (is_aligned(to, sizeof(bf16x2))) {
      *reinterpret_cast<bf16x2*>(to) = __floats2bfloat162_rn(first, second);
      return;
    }
  } else {
    float* const to = static_cast<float*>(y.data) + i;
    if (is_aligned(to, sizeof(float2))) {
      *reinterpret_cast<float2*>(to) = make_float2(first, second);
      return;
    }
  }
  store_element(y, i, first);
  store_element(y, i + 1, second);
}

}  // namespace llmkit::cuda
