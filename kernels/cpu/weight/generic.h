#pragma once

#include "base/simd/dot.h"
#include "base/weight_view.h"
#include "cpu/weight/weight.h"

namespace llmkit {
namespace {  // a copy per instruction set; include base/simd/<isa>.h first

/// The scale and the zero point of each group, asked for in ascending order. Nested scales are
/// worked out a few at a time.
class Groups {
 public:
  void init(const WeightView& w) {
    weight_ = &w;
    default_zero_ = w.format == WeightFormat::kInt8 ? 128.0f : 8.0f;
    scales_ = w.scales;
    end_ = w.nested.codes == nullptr ? ~size_t{0} : 0;
  }
  float scale(size_t group) {
    if (group >= end_) look_ahead(group);
    return scales_[group - begin_];
  }
  float zero_point(size_t group) const {
    return weight_->zeros == nullptr ? default_zero_ : weight_->zeros[group];
  }

 private:
  static constexpr size_t kAhead = 64;

  void look_ahead(size_t group) {
    const NestedScales& nested = weight_->nested;
    const size_t size = weight_->rows * weight_->cols;
    const size_t count = (size + weight_->group_size - 1) / weight_->group_size;
    const size_t end = count - group < kAhead ? count : group + kAhead;
    size_t block = group / nested.block_size, block_end = (block + 1) * nested.block_size;
    for (size_t g = group; g < end; ++g) {
      if (g == block_end) {
        ++block;
        block_end += nested.block_size;
      }
      ahead_[g - group] = nested.map[nested.codes[g]] * nested.absmax[block] + nested.offset;
    }
    begin_ = group;
    end_ = end;
    scales_ = ahead_;
  }

  const WeightView* weight_;
  const float* scales_;  // of the groups from begin_ to end_
  size_t begin_ = 0, end_;
  float default_zero_;
  float ahead_[kAhead];
};

// A decoder turns stored codes into 16 values. init comes first, and set_group before the codes of
// a group; elements are of kBits bits, and every kStep-th begins at a byte.

template <int kBitsPerValue, Vec (*kLoad)(const uint8_t*)>
struct FloatDecoder {
  static constexpr size_t kBits = kBitsPerValue, kStep = 1;
  static constexpr bool kGrouped = false;
  void init(const WeightView&) {}
  Vec operator()(const uint8_t* codes) const { return kLoad(codes); }
};

inline Vec load_f32(const uint8_t* p) { return load(p); }
using F32Decoder = FloatDecoder<32, load_f32>;
using Bf16Decoder = FloatDecoder<16, load_bf16>;
using F16Decoder = FloatDecoder<16, load_f16>;

struct Int8Decoder {
  static constexpr size_t kBits = 8, kStep = 1;
  static constexpr bool kGrouped = true;
  Vec scale, zero_point;

  void init(const WeightView&) {}
  void set_group(float group_scale, float group_zero) {
    scale = splat(group_scale);
    zero_point = splat(group_zero);
  }
  Vec operator()(const uint8_t* codes) const { return mul(sub(load_u8(codes), zero_point), scale); }
};

struct Int4Decoder {
  static constexpr size_t kBits = 4, kStep = 2;
  static constexpr bool kGrouped = true;
  Vec values;  // of the 16 codes in this group

  void init(const WeightView&) {}
  void set_group(float scale, float zero_point) {
    values = mul(sub(to_float(lane_numbers()), splat(zero_point)), splat(scale));
  }
  Vec operator()(const uint8_t* codes) const { return lookup(values, nibbles_low_first(codes)); }
};

struct CodebookDecoder {
  static constexpr size_t kBits = 4, kStep = 2;
  static constexpr bool kGrouped = true;
  Vec codebook, values;

  void init(const WeightView& w) {
    codebook = load(w.format == WeightFormat::kNf4 ? kNf4Values : kFp4Values);
  }
  void set_group(float scale, float) { values = mul(codebook, splat(scale)); }
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
  Groups groups;
  groups.init(w);
  const size_t end = begin + count;
  const size_t group_size = w.group_size == 0 ? end + 1 : w.group_size;
  size_t group = begin / group_size;
  for (size_t i = begin; i < end; ++group) {
    const size_t group_end = (group + 1) * group_size, stop = group_end < end ? group_end : end;
    if constexpr (Decoder::kGrouped)
      decoder.set_group(groups.scale(group), groups.zero_point(group));
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

/// kRows rows of x times kCols rows of the weight, decoded on the way. The weight's rows take turns
/// of 64 elements at most, so that their chains of fma overlap.
template <typename Decoder, int kRows, int kCols>
inline void fused_tile(const WeightView& w, size_t row, const DotArgs& a) {
  const size_t group_size = w.group_size == 0 ? a.k : w.group_size;
  const size_t groups_per_row = a.k / group_size, row_bytes = a.k * Decoder::kBits / 8;
  const size_t turn = group_size % 64 == 0 ? 64 : group_size % 32 == 0 ? 32 : kLanes;
  Decoder decoders[kCols];
  Groups groups[kCols];
  Vec acc[kRows][kCols];
#pragma GCC unroll 8
  for (int j = 0; j < kCols; ++j) {
    decoders[j].init(w);
    groups[j].init(w);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) acc[i][j] = zero();
  }
  const uint8_t* codes = w.codes + row * row_bytes;
  const float* x = a.x;
  for (size_t g = row * groups_per_row; g < (row + 1) * groups_per_row; ++g)
    for (size_t k = 0; k < group_size; k += turn) {
#pragma GCC unroll 8
      for (int j = 0; j < kCols; ++j) {
        const size_t group = g + j * groups_per_row;
        if constexpr (Decoder::kGrouped)
          decoders[j].set_group(groups[j].scale(group), groups[j].zero_point(group));
        for (size_t t = 0; t < turn; t += kLanes) {
          const Vec value = decoders[j](codes + j * row_bytes + t * Decoder::kBits / 8);
#pragma GCC unroll 8
          for (int i = 0; i < kRows; ++i)
            acc[i][j] = fma(load(x + i * a.ldx + t), value, acc[i][j]);
        }
      }
      codes += turn * Decoder::kBits / 8;
      x += turn;
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

template <typename Decoder, int kRows = kMaxFusedRows>
inline void fused_as(const WeightView& w, size_t row, const DotArgs& a) {
  if constexpr (kRows > 0) {
    if (a.m == kRows) return fused_rows<Decoder, kRows>(w, row, a);
    fused_as<Decoder, kRows - 1>(w, row, a);
  }
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
