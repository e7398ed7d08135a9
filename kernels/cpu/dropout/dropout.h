#pragma once

#include <cstddef>
#include <cstdint>

#include "base/elements.h"

namespace llmkit {

/// Inverted dropout whose mask depends on nothing but (seed, stream, keys of the row, column).
/// All integers are uint32 and wrap:
///   mix(h): h ^= h >> 16; h *= 0x7feb352d; h ^= h >> 15; h *= 0x846ca68b; h ^= h >> 16
///   row  = mix(mix(mix(mix(seed) + stream) + keys[r, 0]) + keys[r, 1])
///   drop = mix(row + column · 0x9e3779b9) >> 8 < floor(rate · 2^24 + 0.5)
///   y = drop ? 0 : x · float(1 / (1 - rate))
/// mix is the hash of https://nullprogram.com/blog/2018/07/31/.
struct DropoutArgs {
  size_t rows, cols;
  ConstElements x;
  const int32_t* keys;  // [rows, 2]
  double rate;          // in [0, 1)
  uint32_t seed, stream;
  float* y;  // may be x
};
void dropout(const DropoutArgs& args);

struct DropoutKernels {
  /// A row, on one thread; y may be x.
  void (*run)(const DropoutArgs& args, size_t row, const float* x, float* y);
};

#define DROPOUT_KERNELS(isa, name) extern const DropoutKernels name;
#include "cpu/dropout/kernels.inc"
#undef DROPOUT_KERNELS

}  // namespace llmkit
