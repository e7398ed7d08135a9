#pragma once

#include <algorithm>

#include "cpu/attention/rows.h"
#include "cpu/attention_bf16/attention_bf16.h"
#include "cpu/attention_bf16/products.h"

// What the forward pass and the gradient of a tile of query rows share: name kRowVecs first.

namespace llmkit {
namespace {  // a copy per file: built with its flags

static_assert(kTileRows == kRoundedRows, "a task is a tile");
/// Elements of a block of keys by a tile of rows.
constexpr size_t kBlockSize = kRoundedKeys * kTileRows;

constexpr float kLog2OfE = 1.44269504f;
constexpr uint16_t kNanBf16 = 0x7fff;
static_assert(kTileRows <= 64, "a bit for each row");

/// 2^x to 4 units in the last place, and 1 for 0; zero for -inf. Fitted here by Chebyshev
/// interpolation, in double.
inline Vec exp2(Vec x) {
  const Vec f = {_mm512_reduce_ps(x.v, _MM_FROUND_TO_NEG_INF)};
  const float coefficients[] = {0.00178836880f, 0.00919938739f, 0.05565705523f,
                                0.24020719528f, 0.69314754009f, 1.0f};
  return times_power_of_two(polynomial(f, coefficients), x);  // of the whole part
}

/// Asks for a block of keys or values that is read soon: line `line` of every `lines`.
inline void prefetch_block(const uint16_t* block, size_t size, size_t line, size_t lines) {
  for (size_t i = line * 32; i < kRoundedKeys * size; i += lines * 32)
    __builtin_prefetch(block + i, 0, 3);
}

/// The values of bf16 that are not finite.
inline __mmask32 not_finite(__m512i values) {
  const __m512i exponent = _mm512_set1_epi16(0x7f80);
  return _mm512_cmpeq_epi16_mask(_mm512_and_si512(values, exponent), exponent);
}

/// use(pointer) of the type that the values have.
template <typename Use>
inline void with_values(const ConstElements& x, const Use& use) {
  if (x.is_bf16)
    use(x.halves());
  else
    use(x.floats());
}

/// Keys and values in the forms of RoundedHead.
inline void pack_rows(const ConstElements& x, size_t ld, size_t count, size_t E, uint16_t* block) {
  const size_t size = rounded_size(E);
  std::memset(block, 0, kRoundedKeys * size * sizeof(uint16_t));
  with_values(x, [&](auto from) {
    for (size_t key = 0; key < count; ++key)
      each_chunk(E,
                 [&](auto c) { store_rounded(block + key * size + c.i, c.get(from + key * ld)); });
  });
}
inline void mark_keys(__mmask32 keys, uint16_t* rows, size_t size) {
  for (size_t i = 0; i < 32; ++i)
    if ((keys >> i & 1) != 0) rows[i * size] = kNanBf16;
}
template <typename Value>
inline void pack_columns_of(const Value* x, size_t ld, size_t count, size_t E, uint16_t* block,
                            uint16_t* marked) {
  const size_t size = rounded_size(E);
  std::memset(block, 0, kRoundedKeys * size * sizeof(uint16_t));
  for (size_t key = 0; key < count; key += 2 * kLanes)
    each_chunk(E, [&](auto c) {
      Vec values[2][kLanes];
#pragma GCC unroll 2
      for (size_t half = 0; half < 2; ++half) {
#pragma GCC unroll 16
        for (size_t i = 0; i < kLanes; ++i) {
          const size_t at = key + half * kLanes + i;
          values[half][i] = at < count ? c.get(x + at * ld) : zero();
        }
        transpose(values[half]);
      }
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) {
        const __m512i column = (__m512i)_mm512_cvtne2ps_pbh(values[1][i].v, values[0][i].v);
        const __mmask32 infinite = not_finite(column);
        _mm512_mask_storeu_epi16(block + (c.i + i) * kRoundedKeys + key, ~infinite, column);
        if (infinite != 0) mark_keys(infinite, marked + key * size, size);
      }
    });
}

inline void pack_columns(const ConstElements& x, size_t ld, size_t count, size_t E, uint16_t* block,
                         uint16_t* marked) {
  with_values(x, [&](auto from) { pack_columns_of(from, ld, count, E, block, marked); });
}

/// Rows of q, or of an array shaped like it, as pairs along E [rounded E / 2, kTileRows, 2].
/// `turned` is scratch, [rounded E, kTileRows].
inline void pair_along_values(const RowTile& tile, size_t E, const ConstElements& from,
                              float* turned, uint16_t* to) {
  const size_t size = rounded_size(E);
  std::memset(turned, 0, size * kTileRows * sizeof(float));
  with_values(from, [&](auto values) { load_rows(tile, E, values, 1, turned); });
  for (size_t e = 0; e < size; e += 2)
    for (size_t row = 0; row < kTileRows; row += kLanes) {
      const float* const at = turned + e * kTileRows + row;
      store_pairs(to + e * kTileRows + 2 * row, load(at), load(at + kTileRows));
    }
}

/// The same rows as pairs along the rows [kTileRows / 2, rounded E, 2], with zeros where a value is
/// not finite. @returns the rows that have such, a bit each
template <typename Value>
inline uint64_t pair_values_along_rows(const RowTile& tile, size_t E, const Value* from,
                                       uint16_t* to) {
  const size_t size = rounded_size(E);
  uint64_t rows = 0;
  std::memset(to, 0, kTileRows * size * sizeof(uint16_t));
  for (size_t row = 0; row < tile.count; row += 2) {
    __mmask32 infinite = 0;
    each_chunk(E, [&](auto c) {
      const Vec odd = row + 1 < tile.count ? c.get(from + tile.rows[row + 1].offset) : zero();
      const __m512i pairs = paired(c.get(from + tile.rows[row].offset), odd);
      _mm512_mask_storeu_epi16(to + row * size + 2 * c.i, ~not_finite(pairs), pairs);
      infinite |= not_finite(pairs);
    });
    rows |= static_cast<uint64_t>((infinite & 0x55555555) != 0) << row;
    rows |= static_cast<uint64_t>((infinite & 0xaaaaaaaa) != 0) << (row + 1);
  }
  return rows;
}

inline uint64_t pair_along_rows(const RowTile& tile, size_t E, const ConstElements& from,
                                uint16_t* to) {
  uint64_t infinite = 0;
  with_values(from, [&](auto values) { infinite = pair_values_along_rows(tile, E, values, to); });
  return infinite;
}

/// The keys that each lane sees, counted from the start of the segment; none where there is no row.
struct LaneKeys {
  __m512i first[kRowVecs], last[kRowVecs];
  int32_t whole_begin = 0, whole_end = -1;  // the keys that all lanes see

  LaneKeys(const RowTile& tile, const AttentionSegment& segment) {
    alignas(64) int32_t firsts[kTileRows], lasts[kTileRows];
    const int32_t start = static_cast<int32_t>(segment.key_begin);
    for (size_t i = 0; i < kTileRows; ++i) {
      const bool none = i >= tile.count || tile.rows[i].last < tile.rows[i].first;
      firsts[i] = none ? 0 : tile.rows[i].first - start;
      lasts[i] = none ? -1 : tile.rows[i].last - start;
    }
    for (int v = 0; v < kRowVecs; ++v) {
      first[v] = _mm512_load_si512(firsts + v * kLanes);
      last[v] = _mm512_load_si512(lasts + v * kLanes);
    }
    whole_begin = *std::max_element(firsts, firsts + kTileRows);
    whole_end = *std::min_element(lasts, lasts + kTileRows);
  }

  bool all_see(int32_t begin, int32_t end) const {
    return whole_begin <= begin && end - 1 <= whole_end;
  }
  Mask seen(int v, int32_t key) const {
    const __m512i at = _mm512_set1_epi32(key);
    return {_mm512_mask_cmple_epi32_mask(_mm512_cmple_epi32_mask(first[v], at), at, last[v])};
  }
};

/// The blocks of keys that any row of a tile sees: [begin, end).
struct BlockRange {
  size_t begin = 0, end = 0;

  BlockRange(const RowTile& tile, const AttentionSegment& segment) {
    if (tile.high < tile.low) return;
    begin = (static_cast<size_t>(tile.low) - segment.key_begin) / kRoundedKeys;
    end = (static_cast<size_t>(tile.high) - segment.key_begin) / kRoundedKeys + 1;
  }
};

}  // namespace
}  // namespace llmkit
