#pragma once

#include "base/cpu_features.h"
#include "base/packed_weight.h"

// Lines of a packed weight as columns: include the headers of an instruction set first.

namespace llmkit {
namespace {  // a copy per instruction set

// Rows of x and tiles of 16 rows of the weight that fill the vector registers: few rows, and many
// rows with codes that have scales and with plain bf16. Chains of sums that keep few rows busy:
// of codes with scales, and of plain bf16 from the caches.
#if defined(__AVX512F__)
constexpr int kFewRows = 8, kFewChains = 12, kPlainChains = 16;
constexpr int kPlainRows = 6, kCodedTiles = 2, kPlainTiles = 4;
// 16 sums of a group, where columns are one register each: 14 chains keep no two dot products busy
// whose results take 6 cycles (Zen 5), and 16 leave registers for 12 of the 16 results. Zero points
// need registers too.
constexpr bool kOneRegister = sizeof(Columns) == sizeof(Vec);
constexpr int kCodedRows = kOneRegister ? 8 : 6, kZeroRows = kOneRegister ? 7 : 6;
constexpr int kHeldResults = kOneRegister ? 12 : 24;
#elif defined(__AVX2__) || defined(__ARM_FEATURE_DOTPROD)
constexpr int kFewRows = 4, kFewChains = 4, kPlainChains = 4;
constexpr int kPlainRows = 6, kCodedTiles = 1, kPlainTiles = 1;
constexpr int kCodedRows = kPlainRows, kZeroRows = kPlainRows, kHeldResults = kPlainRows;
#else
constexpr int kFewRows = 2, kFewChains = 1, kPlainChains = 1;
constexpr int kPlainRows = 2, kCodedTiles = 1, kPlainTiles = 1;
constexpr int kCodedRows = kPlainRows, kZeroRows = kPlainRows, kHeldResults = kPlainRows;
#endif
/// Bytes of a panel of decoded columns, most of the second-level cache of a processor: the fewer
/// panels there are, the less often sums are put aside.
#if defined(__AVX512F__)
constexpr size_t kPanelBytes = size_t{768} << 10;
#else
constexpr size_t kPanelBytes = size_t{128} << 10;
#endif
/// Part of a first-level cache that a panel may take.
constexpr size_t kFirstLevelBytes = size_t{32} << 10;
/// How far ahead of the line in use the next ones are asked for; twice as far where the first-level
/// cache can have as many lines open (as in packed_int8/sources.h).
constexpr size_t kPrefetchBytes = 4096;
inline size_t prefetch_bytes() { return (first_level_keeps_up() ? 2 : 1) * kPrefetchBytes; }

/// Pairs of columns in a line.
constexpr int pairs_of(PackedCode code) {
  return code == PackedCode::kFourBit ? 4 : code == PackedCode::kEightBit ? 2 : 1;
}

template <PackedCode kCode>
inline void decode(const uint8_t* line, const Table& table, Columns (&out)[pairs_of(kCode)]) {
  if constexpr (kCode == PackedCode::kFourBit)
    decode_four_bit(line, table, out);
  else if constexpr (kCode == PackedCode::kEightBit)
    decode_eight_bit(line, out);
  else
    decode_sixteen_bit(line, out);
}

/// Bytes of a group before its lines.
inline size_t lines_offset(const PackedWeight& weight) {
  return packed_scale_bytes(weight.scale_type) + (weight.has_zeros ? 16 : 0);
}
inline size_t lines_of_group(const PackedWeight& weight) {
  return (weight.group_bytes - lines_offset(weight)) / 64;
}

/// The scales of the 16 rows of a group.
inline Vec group_scales(const PackedWeight& weight, const uint8_t* group) {
  if (weight.scale_type == ScaleType::kF32) return load(group);
  return weight.scale_type == ScaleType::kF16 ? load_f16(group) : load_bf16(group);
}
/// What the sum of x over the group is multiplied by, where there are zero points: the lines hold
/// code - 8 or code - 128.
inline Vec group_corrections(const PackedWeight& weight, const uint8_t* group, Vec scales) {
  const float middle = weight.code == PackedCode::kFourBit ? 8 : 128;
  const Vec zeros = load_u8(group + packed_scale_bytes(weight.scale_type));
  return mul(sub(splat(middle), zeros), scales);
}

}  // namespace
}  // namespace llmkit
