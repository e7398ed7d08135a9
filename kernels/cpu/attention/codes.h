#pragma once

#include <type_traits>

#include "base/simd/bf16.h"
#include "cpu/attention/pages.h"

// The pages of a cache, whose keys and values are floats, bf16 bits or int8 codes: include
// base/simd/<isa>.h first.

namespace llmkit {
namespace {  // a copy per instruction set

/// A head's part of a page.
template <typename Code>
struct HeadPage {
  Code *keys, *values;
  float *key_scales, *value_scales;  // of int8 codes only

  HeadPage(const PageLayout& layout, uint8_t* page)
      : keys(reinterpret_cast<Code*>(page)),
        values(reinterpret_cast<Code*>(page + layout.values_at())),
        key_scales(reinterpret_cast<float*>(page + layout.key_scales_at())),
        value_scales(reinterpret_cast<float*>(page + layout.value_scales_at())) {}

  /// Element 0 of the tile that begins with this key; the others follow kTileKeys apart.
  Code* tile(size_t key, size_t E) const { return keys + key * E; }
  /// Columns [16 · chunk, 16 · chunk + 16) of a value; the next value follows kLanes apart.
  Code* column(size_t chunk, size_t key) const {
    return values + (chunk * kPageKeys + key) * kLanes;
  }
};

template <typename Code>
constexpr bool kScaled = std::is_same_v<Code, int8_t>;

inline Vec load_codes(const float* p) { return load(p); }
inline Vec load_codes(const uint16_t* p) { return load_bf16(reinterpret_cast<const uint8_t*>(p)); }
inline Vec load_codes(const int8_t* p) { return load_s8(p); }

/// 16 values of which these are the codes; `scale` counts for int8 only.
template <typename Code>
inline Vec load_values(const Code* p, Vec scale) {
  if constexpr (kScaled<Code>)
    return mul(load_codes(p), scale);
  else
    return load_codes(p);
}

/// Calls body with a value of the type of a cache's codes.
template <typename Body>
inline void with_codes(KvType type, const Body& body) {
  switch (type) {
    case KvType::kF32:
      return body(float());
    case KvType::kBf16:
      return body(uint16_t());
    case KvType::kInt8:
      return body(int8_t());
  }
}

inline void store_codes(Vec v, float* to) { store(to, v); }
inline void store_codes(Vec v, uint16_t* to) {
  store_halves(to, shift_right<16>(as_int(round_to_bf16(v))));
}
inline void store_codes(Vec v, int8_t* to) { store_bytes(to, to_int(v)); }

/// Below it 127 divided by a magnitude may have no finite value.
constexpr float kLeastMagnitude = 0x1p-120f;

/// The scale of a row, and what it is multiplied by to make codes.
struct RowScale {
  float scale = 1, inverse = 1;

  RowScale() = default;
  RowScale(const float* x, size_t n) {
    Index most = splat_int(0);  // as bits, where NaN is above infinity
    each_chunk(
        n, [&](auto c) { most = larger(most, bit_and(as_int(c.get(x)), splat_int(0x7fffffff))); });
    const uint32_t bits = largest_lane(most);
    float magnitude;
    std::memcpy(&magnitude, &bits, sizeof bits);
    const bool finite = bits < 0x7f800000, tiny = magnitude < kLeastMagnitude;
    inverse = finite && !tiny ? 127 / magnitude : 0;
    scale = !finite ? __builtin_nanf("") : tiny ? 0 : magnitude / 127;
  }
};

/// Writes the codes of 16 columns of a row: body(codes, c) for each chunk of columns.
template <typename Code, typename Body>
inline float each_code(const float* x, size_t n, const Body& body) {
  const RowScale row = kScaled<Code> ? RowScale(x, n) : RowScale();
  each_chunk(n, [&](auto c) {
    Code codes[kLanes];
    store_codes(kScaled<Code> ? mul(c.get(x), splat(row.inverse)) : c.get(x), codes);
    body(codes, c);
  });
  return row.scale;
}

template <typename Code>
inline void write_codes(const PageLayout& layout, const float* key_row, const float* value_row,
                        size_t key, uint8_t* page) {
  const HeadPage<Code> head(layout, page);
  Code* const tile = head.tile(key - key % kTileKeys, layout.E) + key % kTileKeys;
  const float key_scale = each_code<Code>(key_row, layout.E, [&](const Code* codes, auto c) {
    for (int e = 0; e < elements(c); ++e)
      tile[(c.i + static_cast<size_t>(e)) * kTileKeys] = codes[e];
  });
  const float value_scale = each_code<Code>(value_row, layout.E, [&](const Code* codes, auto c) {
    std::memcpy(head.column(c.i / kLanes, key), codes, kLanes * sizeof(Code));
  });
  if constexpr (kScaled<Code>) {
    head.key_scales[key] = key_scale;
    head.value_scales[key] = value_scale;
  }
}

inline void write(const PageLayout& layout, const float* key_row, const float* value_row,
                  size_t key, uint8_t* page) {
  with_codes(layout.type, [&](auto code) {
    write_codes<decltype(code)>(layout, key_row, value_row, key, page);
  });
}

inline void restore(const PageLayout& layout, uint8_t* page, float* tiles, float* columns) {
  with_codes(layout.type, [&](auto code) {
    using Code = decltype(code);
    const HeadPage<Code> head(layout, page);
    for (size_t key = 0; key < kPageKeys; key += kTileKeys) {
      const Vec scale = kScaled<Code> ? load(head.key_scales + key) : zero();
      for (size_t e = 0; e < layout.E; ++e)
        store(tiles + key * layout.E + e * kTileKeys,
              load_values(head.tile(key, layout.E) + e * kTileKeys, scale));
    }
    for (size_t chunk = 0; chunk < padded(layout.E) / kLanes; ++chunk)
      for (size_t key = 0; key < kPageKeys; ++key) {
        const Vec scale = kScaled<Code> ? splat(head.value_scales[key]) : zero();
        store(columns + (chunk * kPageKeys + key) * kLanes,
              load_values(head.column(chunk, key), scale));
      }
  });
}

}  // namespace
}  // namespace llmkit
