#pragma once

#include <cstddef>
#include <cstdint>

namespace llmkit {

enum class Reduction { kSum, kMean, kMax, kCount };
constexpr size_t kReductions = static_cast<size_t>(Reduction::kCount);
constexpr const char* kReductionNames[kReductions] = {"sum", "mean", "max"};

/// y [outer, inner] = the reduction over the middle axis of x [outer, middle, inner]. Sums over a
/// last axis (inner = 1) have the order of sum_chunks, others go up the middle axis. The maximum
/// of values that hold a NaN is NaN.
struct ReduceArgs {
  size_t outer, middle, inner;
  const float* x;
  float* y;
};
void reduce(Reduction reduction, const ReduceArgs& args);

/// y[r] = the first index of the largest value of a row; NaNs are passed over, but for the first.
void argmax(size_t rows, size_t cols, const float* x, int32_t* y);

/// On one thread. rows: [begin, end) of outer, inner = 1; middle: row `outer`, [begin, end) of
/// inner.
struct ReduceKernels {
  void (*rows[kReductions])(const ReduceArgs& args, size_t begin, size_t end);
  void (*middle[kReductions])(const ReduceArgs& args, size_t outer, size_t begin, size_t end);
  void (*argmax)(size_t rows, size_t cols, const float* x, int32_t* y);
};

#define REDUCE_KERNELS(isa, name) extern const ReduceKernels name;
#include "cpu/reduce/kernels.inc"
#undef REDUCE_KERNELS

}  // namespace llmkit
