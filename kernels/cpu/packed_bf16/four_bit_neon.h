#pragma once

#include "cpu/packed_bf16/columns_f32.h"

// As four_bit_avx2.h: the low and the high byte of a bf16 value are looked up each by itself.

namespace llmkit {
namespace {

struct Table {
  uint8x16_t low, high;  // byte c: that of code c
};

inline Table table_of(const uint16_t* values) {
  const uint8x16x2_t bytes = vld2q_u8(reinterpret_cast<const uint8_t*>(values));
  return {bytes.val[0], bytes.val[1]};
}

/// 4 rows of 4 columns, a code in the low half of each byte.
struct Quarter {
  float32x4_t columns[4];
};
inline Quarter decode_quarter(uint8x16_t codes, const Table& table) {
  const uint8x16_t index = vandq_u8(codes, vdupq_n_u8(15));
  const uint8x16_t low = vqtbl1q_u8(table.low, index), high = vqtbl1q_u8(table.high, index);
  const uint32x4_t rows01 = vreinterpretq_u32_u8(vzip1q_u8(low, high));
  const uint32x4_t rows23 = vreinterpretq_u32_u8(vzip2q_u8(low, high));
  const uint32x4_t first = vuzp1q_u32(rows01, rows23), second = vuzp2q_u32(rows01, rows23);
  const uint32x4_t odd = vdupq_n_u32(0xffff0000u);
  return {{vreinterpretq_f32_u32(vshlq_n_u32(first, 16)),
           vreinterpretq_f32_u32(vandq_u32(first, odd)),
           vreinterpretq_f32_u32(vshlq_n_u32(second, 16)),
           vreinterpretq_f32_u32(vandq_u32(second, odd))}};
}

inline void decode_four_bit(const uint8_t* line, const Table& table, Columns* out) {
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {  // the low halves of the bytes, then the high
    Quarter quarters[4];
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      const uint8x16_t codes = vld1q_u8(line + 16 * q);
      quarters[q] = decode_quarter(i == 0 ? codes : vshrq_n_u8(codes, 4), table);
    }
    const auto column = [&](int j) -> Vec {
      return {quarters[0].columns[j], quarters[1].columns[j], quarters[2].columns[j],
              quarters[3].columns[j]};
    };
    out[2 * i] = {column(0), column(1)};
    out[2 * i + 1] = {column(2), column(3)};
  }
}

}  // namespace
}  // namespace llmkit
