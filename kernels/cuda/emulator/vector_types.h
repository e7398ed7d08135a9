#pragma once

// CUDA's vectors: the same names, fields, sizes and alignments.

#define LLMKIT_VECTORS(T, name, align2, align4)                      \
  struct name##1 {                                                   \
    T x;                                                             \
  };                                                                 \
  struct alignas(align2) name##2 {                                   \
    T x, y;                                                          \
  };                                                                 \
  struct name##3 {                                                   \
    T x, y, z;                                                       \
  };                                                                 \
  struct alignas(align4) name##4 {                                   \
    T x, y, z, w;                                                    \
  };                                                                 \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; }         \
  inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; } \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }

LLMKIT_VECTORS(signed char, char, 2, 4)
LLMKIT_VECTORS(unsigned char, uchar, 2, 4)
LLMKIT_VECTORS(short, short, 4, 8)
LLMKIT_VECTORS(unsigned short, ushort, 4, 8)
LLMKIT_VECTORS(int, int, 8, 16)
LLMKIT_VECTORS(unsigned, uint, 8, 16)
LLMKIT_VECTORS(float, float, 8, 16)
LLMKIT_VECTORS(long long, longlong, 16, 16)
LLMKIT_VECTORS(unsigned long long, ulonglong, 16, 16)
LLMKIT_VECTORS(double, double, 16, 16)
#undef LLMKIT_VECTORS

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
