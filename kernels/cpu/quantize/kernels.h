#pragma once

#include "cpu/quantize/quantize.h"

namespace llmkit {

/// Whole groups of a matrix in float32; the last may be shorter.
struct QuantizeRun {
  const float* values;
  size_t count;
  QuantizedParts parts;  // of the run, its codes one per byte
};

/// Quantization on one thread.
struct QuantizeKernels {
  /// Scales, zero points and codes of a run, and what they change. False when a value is not finite.
  bool (*groups)(const QuantizeSpec& spec, const QuantizeRun& run, SquareSums& sums);
  /// out[i] = first | second << 4 of each pair of codes; the other way round with high_first.
  void (*pack_nibbles)(const uint8_t* codes, size_t pairs, bool high_first, uint8_t* out);
  SquareSums (*square_sums)(const float* values, const float* restored, size_t count);
};

#define QUANTIZE_KERNELS(isa, name) extern const QuantizeKernels name;
#include "cpu/quantize/kernels.inc"
#undef QUANTIZE_KERNELS

}  // namespace llmkit
