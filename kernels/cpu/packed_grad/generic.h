#pragma once

#include "base/simd/loops.h"
#include "cpu/gemm/gemm.h"
#include "cpu/packed_grad/decode.h"

// packed_grad_input where there are no bf16 instructions: include base/simd/<isa>.h first. bf16
// values are held as float32; a block is [depth, width], a panel [kGradCols, kGradDepth].

namespace llmkit {
namespace {  // a copy per instruction set

struct FloatPanel {
  float* values;
  void put(size_t col, Vec first, Vec second) const {
    store(values + col * kGradDepth, round_to_bf16(first));
    store(values + col * kGradDepth + kLanes, round_to_bf16(second));
  }
  void next() { values += kGradStep; }
};

inline void decode_floats(const PackedWeight& weight, const GradPanel& p, void* panel) {
  decode_panel(weight, p, FloatPanel{static_cast<float*>(panel)});
}

template <typename Input>
inline void pack_rows_of(const GradRows& p, const Input* dy, float* out) {
  const size_t depth = (p.depth + kGradStep - 1) / kGradStep * kGradStep;
  for (size_t i = 0; i < depth * p.width; ++i) out[i] = 0;
  for (size_t row = 0; row < p.rows; ++row)
    each_chunk(p.depth, [&](auto c) {
      float values[kLanes];
      store(values, round_to_bf16(c.get(dy + row * p.ld)));
      for (int i = 0; i < elements(c); ++i) out[(c.i + i) * p.width + row] = values[i];
    });
}

inline void pack_floats(const GradRows& p, void* block) {
  float* const out = static_cast<float*>(block);
  if (p.dy.is_bf16)
    pack_rows_of(p, p.dy.halves(), out);
  else
    pack_rows_of(p, p.dy.floats(), out);
}

template <typename Input>
void pack_columns_of(const GradColumns& p, const Input* values, float* out) {
  const size_t depth = (p.rows + kGradStep - 1) / kGradStep * kGradStep;
  for (size_t i = 0; i < depth * p.width; ++i) out[i] = 0;
  for (size_t row = 0; row < p.rows; ++row)
    each_chunk(p.cols, [&](auto c) {
      c.put(out + row * p.width, round_to_bf16(c.get(values + row * p.ld)));
    });
}

inline void pack_float_columns(const GradColumns& p, void* block) {
  float* const out = static_cast<float*>(block);
  if (p.values.is_bf16)
    pack_columns_of(p, p.values.halves(), out);
  else
    pack_columns_of(p, p.values.floats(), out);
}

inline void product_of_floats(const GradProduct& p) {
  gemm_f32().axpy({p.cols, p.width, p.depth, static_cast<const float*>(p.panel), kGradDepth, 1,
                   static_cast<const float*>(p.block), p.width, p.sums, p.ld, p.accumulate});
}

inline void transpose_block(const float* sums, size_t ld, float* rows) {
  for (size_t row = 0; row < 16; ++row)
    for (size_t col = 0; col < 16; ++col) rows[row * kGradRows + col] = sums[col * ld + row];
}

}  // namespace
}  // namespace llmkit
