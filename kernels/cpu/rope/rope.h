#pragma once

#include <cstddef>

#include "base/elements.h"

namespace llmkit {

/// Rotary position encoding, https://arxiv.org/abs/2104.09864, in the rotate-half form of
/// Hugging Face: of each head's first 2 * half values, with the angle i of the position,
///   y[i] = x[i] cos[i] - x[half + i] sin[i],  y[half + i] = x[half + i] cos[i] + x[i] sin[i]
/// The rest is copied. inverse turns the other way, which is the gradient.
struct RopeArgs {
  size_t positions, heads, head_size, half;
  ConstElements x;   // [positions, heads, head_size]
  const float* cos;  // [positions, half]
  const float* sin;
  Elements y;  // may be x
  bool inverse;
};

void rope(const RopeArgs& args);

struct RopeKernels {
  /// The heads of one position, on one thread; y may be x.
  void (*run)(const RopeArgs& args, size_t position, const float* x, float* y);
};

/// The kernels of this machine.
const RopeKernels& rope_kernels();

#define ROPE_KERNELS(isa, name) extern const RopeKernels name;
#include "cpu/rope/kernels.inc"
#undef ROPE_KERNELS

}  // namespace llmkit
