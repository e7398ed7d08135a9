#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/adamw/adamw.h"

namespace llmkit {

/// Values that share a scale in the states of adamw_8bit.
constexpr size_t kStateBlock = 256;

/// m and v in 8 bits: value i is map[code] · scale[i / 256], in the two maps of dynamic_map.h.
struct Adamw8State {
  float* parameter;
  const float* gradient;
  uint8_t *m, *v;              // [n] codes
  float *m_scales, *v_scales;  // [ceil(n / 256)], the largest magnitude of each block; 0 at first
};

/// adamw with the states read from 8 bits and rounded to them again, as in
/// https://arxiv.org/abs/2110.02861; the parameter's step is made with the states before rounding.
void adamw_8bit(size_t n, const Adamw8State& state, const AdamwHyper& hyper);

}  // namespace llmkit
