#pragma once

#include <cstddef>
#include <cstdint>

namespace llmkit {

constexpr size_t kSampleMostIds = size_t{1} << 24;

/// How one token is chosen from logits [vocab]; the order is penalty, temperature, top-k, top-p.
struct SampleArgs {
  size_t vocab;  // at most kSampleMostIds
  const float* logits;
  const int32_t* seen;  // distinct ids below vocab, whose scores the penalty lowers
  size_t seen_count;
  double penalty;      // 1: none
  double temperature;  // 0: the most probable token
  size_t top_k;        // 0: all
  double top_p;        // 1: all
  double uniform;      // in [0, 1)
};

/// The chosen id: the first of the largest scores at temperature 0, else the inverse of the
/// cumulative distribution at `uniform`, ids ascending. -1 when no score is finite or one is
/// infinite; NaNs are never chosen. In float64, and the same bits as src/tensor/ops/sample.ts but
/// for the order in which the weights before the top-p cut are added.
int64_t sample(const SampleArgs& args);

/// Weights are added up in blocks of this many, each with eight lanes.
constexpr size_t kSampleBlock = 256;
constexpr size_t kSampleLanes = 8;

/// The values above a limit.
struct SampleAbove {
  size_t count;
  double sum;
};

/// On one thread. Lengths are multiples of eight, but for `between` and `largest_logit`.
struct SampleKernels {
  /// -infinity when all are NaN.
  float (*largest_logit)(size_t n, const float* x);
  /// y = x, -infinity for NaN
  void (*widen)(size_t n, const float* x, double* y);
  double (*largest)(size_t n, const double* x);
  /// x = e^((x - most) / temperature)
  void (*weigh)(size_t n, double most, double temperature, double* x);
  SampleAbove (*above)(size_t n, const double* x, double limit);
  /// Writes where low < x <= high, ascending; returns how many. `places` has room for n.
  size_t (*between)(size_t n, const double* x, double low, double high, int32_t* places);
  /// x = 0 where it is not above the limit.
  void (*clear)(size_t n, double limit, double* x);
  /// The sum of up to one block.
  double (*sum)(size_t n, const double* x);
};

#define SAMPLE_KERNELS(isa, name) extern const SampleKernels name;
#include "cpu/sample/kernels.inc"
#undef SAMPLE_KERNELS

}  // namespace llmkit
