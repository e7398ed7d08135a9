#pragma once

#include "cpu/packed_bf16/columns_f32.h"

namespace llmkit {
namespace {  // a copy per instruction set

/// The values of the 16 codes.
using Table = Vec;

inline Table table_of(const uint16_t* values) {
  return load_bf16(reinterpret_cast<const uint8_t*>(values));
}
inline void decode_four_bit(const uint8_t* line, const Table& table, Columns* out) {
  const Index codes = as_int(load(line));
  out[0] = {lookup(table, codes), lookup(table, shift_right<8>(codes))};
  out[1] = {lookup(table, shift_right<16>(codes)), lookup(table, shift_right<24>(codes))};
  out[2] = {lookup(table, shift_right<4>(codes)), lookup(table, shift_right<12>(codes))};
  out[3] = {lookup(table, shift_right<20>(codes)), lookup(table, shift_right<28>(codes))};
}

}  // namespace
}  // namespace llmkit
