#pragma once

#include "base/simd/dot.h"
#include "base/weight_view.h"
#include "cpu/weight/weight.h"

namespace llmkit {
namespace {  // a copy per instruction set; include base/simd/<isa>.h first

inline float scale_of(const WeightView& w, size_t group) {
  if (w.nested.codes == nullptr) return w.scales[group];
  const float scale = w.nested.map[w.nested.codes[group]];
  return scale * w.nested.absmax[group / w.nested.block_size] + w.nested.offset;
}

// A decoder turns stored codes into 16 values. init comes first, and set_group before the codes of
// a group; kStep consecutive elements begin at a byte, kBits bits each.

template <int kBitsPerValue, Vec (*kLoad)(const uint8_t*)>
struct FloatDecoder {
  static constexpr size_t kBits = kBitsPerValue, kStep = 1;
  void init(const WeightView&) {}
  void set_group(size_t) {}
  Vec operator()(const uint8_t* codes) const { return kLoad(codes); }
};

inline Vec load_f32(const uint8_t* p) { return load(p); }
using F32Decoder = FloatDecoder<32, load_f32>;
using Bf16Decoder = FloatDecoder<16, load_bf16>;
using F16Decoder = FloatDecoder<16, load_f16>;

struct Int8Decoder {
  static constexpr size_t kBits = 8, kStep = 1;
  const WeightView* weight;
  Vec zero_point, scale;

  void init(const WeightView& w) { weight = &w; }
  void set_group(size_t group) {
    zero_point = splat(weight->zeros == nullptr ? 128.0f : weight->zeros[group]);
    scale = splat(scale_of(*weight, group));
  }
  Vec operator()(const uint8_t* codes) const { return mul(sub(load_u8(codes), zero_point), scale); }
};

struct Int4Decoder {
  static constexpr size_t kBits = 4, kStep = 2;
  const WeightView* weight;
  Vec values;  // of the 16 codes in this group

  void init(const WeightView& w) { weight = &w; }
  void set_group(size_t group) {
    const float zero_point = weight->zeros == nullptr ? 8.0f : weight->zeros[group];
    values = mul(sub(to_float(lane_numbers()), splat(zero_point)), splat(scale_of(*weight, group)));
  }
  Vec operator()(const uint8_t* codes) const { return lookup(values, nibbles_low_first(codes)); }
};

struct CodebookDecoder {
  static constexpr size_t kBits = 4, kStep = 2;
  const WeightView* weight;
  Vec codebook, values;

  void init(const WeightView& w) {
    weight = &w;
    codebook = load(w.format == WeightFormat::kNf4 ? kNf4Values : kFp4Values);
  }
  void set_group(size_t group) { values = mul(codebook, splat(scale_of(*weight, group))); }
  Vec operator()(const uint8_t* codes) const { return lookup(values, nibbles_high_first(codes)); }
};

/// Elements [begin, end) of one group; fewer than 16 go through a buffer.
template <typename Decoder>
inline void decode_run(const Decoder& decoder, const uint8_t* codes, size_t begin, size_t end,
                       float* out) {
  size_t i = begin;
  for (; i + kLanes <= end && i % Decoder::kStep == 0; i += kLanes, out += kLanes)
    store(out, decoder(codes + i * Decoder::kBits / 8));
  while (i < end) {
    const size_t skip = i % Decoder::kStep;  // an odd element in the middle of a byte
    const size_t rest = end - i, room = kLanes - skip, count = rest < room ? rest : room;
    uint8_t buffer[kLanes * 4] = {};
    std::memcpy(buffer, codes + (i - skip) * Decoder::kBits / 8,
                ((skip + count) * Decoder::kBits + 7) / 8);
    float values[kLanes];
    store(values, decoder(buffer));
    std::memcpy(out, values + skip, count * sizeof(float));
    i += count;
    out += count;
  }
}

template <typename Decoder>
inline void decode_as(const WeightView& w, size_t begin, size_t count, float* out) {
  Decoder decoder;
  decoder.init(w);
  const size_t end = begin + count;
  const size_t group_size = w.group_size == 0 ? end + 1 : w.group_size;
  size_t group = begin / group_size;
  for (size_t i = begin; i < end; ++group) {
    const size_t group_end = (group + 1) * group_size, stop = group_end < end ? group_end : end;
    decoder.set_group(group);
    decode_run(decoder, w.codes, i, stop, out);
    out += stop - i;
    i = stop;
  }
}

inline void decode(const WeightView& w, size_t begin, size_t count, float* out) {
  switch (w.format) {
    case WeightFormat::kF32:
      return decode_as<F32Decoder>(w, begin, count, out);
    case WeightFormat::kBf16:
      return decode_as<Bf16Decoder>(w, begin, count, out);
    case WeightFormat::kF16:
      return decode_as<F16Decoder>(w, begin, count, out);
    case WeightFormat::kInt8:
      return decode_as<Int8Decoder>(w, begin, count, out);
    case WeightFormat::kInt4:
      return decode_as<Int4Decoder>(w, begin, count, out);
    case WeightFormat::kNf4:
    case WeightFormat::kFp4:
      return decode_as<CodebookDecoder>(w, begin, count, out);
  }
}

/// kRows rows of x times kCols rows of the weight, decoded on the way.
template <typename Decoder, int kRows, int kCols>
inline void fused_tile(const WeightView& w, size_t row, const DotArgs& a) {
  const size_t group_size = w.group_size == 0 ? a.k : w.group_size;
  const size_t groups_per_row = a.k / group_size, row_bytes = a.k * Decoder::kBits / 8;
  const uint8_t* codes = w.codes + row * row_bytes;
  Decoder decoders[kCols];
  Vec acc[kRows][kCols];
#pragma GCC unroll 8
  for (int j = 0; j < kCols; ++j) {
    decoders[j].init(w);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) acc[i][j] = zero();
  }
  for (size_t g = 0; g < groups_per_row; ++g) {
#pragma GCC unroll 8
    for (int j = 0; j < kCols; ++j) decoders[j].set_group((row + j) * groups_per_row + g);
    for (size_t k = g * group_size; k < (g + 1) * group_size; k += kLanes)
#pragma GCC unroll 8
      for (int j = 0; j < kCols; ++j) {
        const Vec value = decoders[j](codes + j * row_bytes + k * Decoder::kBits / 8);
#pragma GCC unroll 8
        for (int i = 0; i < kRows; ++i)
          acc[i][j] = fma(load(a.x + i * a.ldx + k), value, acc[i][j]);
      }
  }
  dot_finish(acc, a);
}

template <typename Decoder, int kRows>
inline void fused_rows(const WeightView& w, size_t row, const DotArgs& a) {
  constexpr int kCols = 4;  // chains enough to hide the latency of fma at one row
  size_t n = 0;
  for (; n + kCols <= a.n; n += kCols)
    fused_tile<Decoder, kRows, kCols>(w, row + n, dot_at(a, 0, n));
  for (; n < a.n; ++n) fused_tile<Decoder, kRows, 1>(w, row + n, dot_at(a, 0, n));
}

template <typename Decoder>
inline void fused_as(const WeightView& w, size_t row, const DotArgs& a) {
  static_assert(kMaxFusedRows == 3, "one case for each");
  if (a.m == 1) fused_rows<Decoder, 1>(w, row, a);
  if (a.m == 2) fused_rows<Decoder, 2>(w, row, a);
  if (a.m == 3) fused_rows<Decoder, 3>(w, row, a);
}

inline void fused_product(const WeightView& w, size_t row, const DotArgs& a) {
  switch (w.format) {
    case WeightFormat::kF32:  // gemm's dot reads it as it is
      return;
    case WeightFormat::kBf16:
      return fused_as<Bf16Decoder>(w, row, a);
    case WeightFormat::kF16:
      return fused_as<F16Decoder>(w, row, a);
    case WeightFormat::kInt8:
      return fused_as<Int8Decoder>(w, row, a);
    case WeightFormat::kInt4:
      return fused_as<Int4Decoder>(w, row, a);
    case WeightFormat::kNf4:
    case WeightFormat::kFp4:
      return fused_as<CodebookDecoder>(w, row, a);
  }
}

}  // namespace
}  // namespace llmkit
