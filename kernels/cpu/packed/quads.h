#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace llmkit {

/// Four dwords of 4-bit codes, as vectors of every processor's smallest registers.
typedef uint8_t QuadBytes __attribute__((vector_size(16)));
typedef uint32_t Quad __attribute__((vector_size(16)));

/// The elements of a and then of b that are named.
template <int... kFrom, typename V>
inline V chosen(V a, V b) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, kFrom...);
#else
  return __builtin_shuffle(a, b, V{kFrom...});
#endif
}

/// Four dwords to the order of a packed line, as pair_nibbles: column j of each is in the low
/// nibble of byte j / 2 where j is even and `low_first`, else in the high one.
inline Quad pair_nibbles(Quad dwords, bool low_first) {
  const QuadBytes low = reinterpret_cast<QuadBytes>(dwords) & 15;
  const QuadBytes high = reinterpret_cast<QuadBytes>(dwords) >> 4;
  const QuadBytes even = low_first ? low : high, odd = low_first ? high : low;
  const Quad first = reinterpret_cast<Quad>(
      chosen<0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23>(even, odd));
  const Quad last = reinterpret_cast<Quad>(
      chosen<8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31>(even, odd));
  return chosen<0, 2, 4, 6>(first, last) | chosen<1, 3, 5, 7>(first, last) << 4;
}

/// 32 columns of 4-bit codes of four rows, `stride` bytes apart, as a quarter of each of four lines
/// of `line_bytes`.
inline void pack_quads(const uint8_t* codes, size_t stride, bool low_first, uint8_t* lines,
                       size_t line_bytes) {
  Quad row[4];
  for (size_t r = 0; r < 4; ++r) std::memcpy(&row[r], codes + r * stride, sizeof row[r]);
  const Quad a = chosen<0, 4, 1, 5>(row[0], row[1]), b = chosen<0, 4, 1, 5>(row[2], row[3]);
  const Quad c = chosen<2, 6, 3, 7>(row[0], row[1]), d = chosen<2, 6, 3, 7>(row[2], row[3]);
  const Quad turned[] = {chosen<0, 1, 4, 5>(a, b), chosen<2, 3, 6, 7>(a, b),
                         chosen<0, 1, 4, 5>(c, d), chosen<2, 3, 6, 7>(c, d)};
  for (size_t i = 0; i < 4; ++i) {
    const Quad quarter = pair_nibbles(turned[i], low_first);
    std::memcpy(lines + i * line_bytes, &quarter, sizeof quarter);
  }
}

}  // namespace llmkit
