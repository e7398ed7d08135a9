#pragma once

#include <cstdint>
#include <cstring>

// Loads with a hint, bits of numbers, and what CUDA has on integers.

#define LLMKIT_HINTED_LOAD(name) \
  template <class T>             \
  T name(const T* p) {           \
    return *p;                   \
  }
LLMKIT_HINTED_LOAD(__ldg)
LLMKIT_HINTED_LOAD(__ldcs)
LLMKIT_HINTED_LOAD(__ldcg)
LLMKIT_HINTED_LOAD(__ldca)
LLMKIT_HINTED_LOAD(__ldlu)
LLMKIT_HINTED_LOAD(__ldcv)
#undef LLMKIT_HINTED_LOAD

#define LLMKIT_HINTED_STORE(name) \
  template <class T>              \
  void name(T* p, T value) {      \
    *p = value;                   \
  }
LLMKIT_HINTED_STORE(__stcs)
LLMKIT_HINTED_STORE(__stcg)
LLMKIT_HINTED_STORE(__stwb)
LLMKIT_HINTED_STORE(__stwt)
#undef LLMKIT_HINTED_STORE

#define LLMKIT_BITS(name, From, To)            \
  inline To name(From value) {                 \
    static_assert(sizeof(From) == sizeof(To)); \
    To bits;                                   \
    std::memcpy(&bits, &value, sizeof(To));    \
    return bits;                               \
  }
LLMKIT_BITS(__float_as_uint, float, unsigned)
LLMKIT_BITS(__float_as_int, float, int)
LLMKIT_BITS(__uint_as_float, unsigned, float)
LLMKIT_BITS(__int_as_float, int, float)
LLMKIT_BITS(__double_as_longlong, double, long long)
LLMKIT_BITS(__longlong_as_double, long long, double)
#undef LLMKIT_BITS

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline int __clzll(long long x) {
  return x == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(x));
}
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; ++i) reversed |= (x >> i & 1) << (31 - i);
  return reversed;
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(uint64_t{a} * b >> 32);
}
inline int __mulhi(int a, int b) { return static_cast<int>(int64_t{a} * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>(((uint64_t{high} << 32 | low) << (shift & 31)) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((uint64_t{high} << 32 | low) >> (shift & 31));
}

/// Four bytes of the eight of a and b, picked by the digits of `selector`; a digit with its high
/// bit set repeats the sign of the byte.
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  const uint64_t bytes = uint64_t{b} << 32 | a;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned digit = selector >> (4 * i) & 15;
    unsigned byte = static_cast<unsigned>(bytes >> (8 * (digit & 7))) & 255;
    if (digit & 8) byte = byte & 128 ? 255 : 0;
    result |= byte << (8 * i);
  }
  return result;
}

/// c + the four products of signed bytes.
inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 4; ++i)
    c += static_cast<int8_t>(a >> (8 * i)) * static_cast<int8_t>(b >> (8 * i));
  return c;
}
