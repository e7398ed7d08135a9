#pragma once

#include <vector>

#include "base/bf16.h"
#include "base/packed_weight.h"
#include "cpu/weight/reference.h"

namespace llmkit {

inline float bf16_reference(float x) { return from_bf16(to_bf16(x)); }

/// The scale of element i.
inline float scale_reference(const WeightView& w, size_t i) {
  const size_t group = i / w.group_size;
  if (w.nested.codes == nullptr) return w.scales[group];
  const volatile float product =
      w.nested.map[w.nested.codes[group]] * w.nested.absmax[group / w.nested.block_size];
  return product + w.nested.offset;
}

/// What a packed weight stands for in a gradient: bf16(code * scale), where codes of nf4 and fp4
/// are bf16 values too but for kBf16Dequantized.
inline std::vector<float> packed_values_reference(const WeightView& w, const PackedWeight& packed) {
  std::vector<float> values(w.rows * w.cols);
  const bool table = packed.code == PackedCode::kFourBit && w.format != WeightFormat::kInt4 &&
                     packed.compute != Compute::kBf16Dequantized;
  const float* const codebook = w.format == WeightFormat::kNf4 ? kNf4Values : kFp4Values;
  for (size_t i = 0; i < values.size(); ++i) {
    const int code = table ? w.codes[i / 2] >> (i % 2 == 1 ? 0 : 4) & 15 : 0;
    values[i] = bf16_reference(table ? bf16_reference(codebook[code]) * scale_reference(w, i)
                                     : decode_reference(w, i));
  }
  return values;
}

}  // namespace llmkit
