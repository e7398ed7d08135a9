#pragma once

#include "base/products.h"
#include "base/weight_view.h"

namespace llmkit {

/// Rows of x that the fused product takes at most.
constexpr int kMaxFusedRows = 6;

/// What is done with a weight in its stored format, on one thread.
struct WeightKernels {
  /// out = elements [begin, begin + count) of the flattened matrix, in float32.
  void (*decode)(const WeightView& weight, size_t begin, size_t count, float* out);
  /// The dot product of args (whose w is not used) with rows row.. of the weight, decoded in
  /// registers: the bits of decode and gemm's dot. args.m <= kMaxFusedRows; can_fuse(weight).
  void (*fused_product)(const WeightView& weight, size_t row, const DotArgs& args);
};

/// Rows begin at whole groups and all are whole vectors.
inline bool can_fuse(const WeightView& weight) {
  if (weight.format == WeightFormat::kF32 || weight.cols % 16 != 0) return false;
  return weight.group_size == 0 ||
         (weight.group_size % 16 == 0 && weight.cols % weight.group_size == 0);
}

#define WEIGHT_KERNELS(isa, name) extern const WeightKernels name;
#include "cpu/weight/kernels.inc"
#undef WEIGHT_KERNELS

/// The best kernels for this machine.
const WeightKernels& weight_f32();

}  // namespace llmkit
