#pragma once

#include <cstddef>
#include <cstdint>

namespace llmkit {

// Moving values about: no arithmetic but scatter_add's sums, so one version for every machine.

constexpr size_t kMaxAxes = 6;
struct TransposeArgs {
  size_t axes;                   // <= kMaxAxes
  size_t shape[kMaxAxes];        // of x
  size_t permutation[kMaxAxes];  // axis i of y is axis permutation[i] of x
  const float* x;
  float* y;
};
void transpose(const TransposeArgs& args);

struct GatherArgs {
  size_t outer, axis, inner;
  const float* x;  // [outer, axis, inner]
  size_t count;
  const int32_t* ids;  // within [0, axis)
  float* y;            // [outer, count, inner]
};
void gather(const GatherArgs& args);

/// Adds row i of x [count, cols] to row ids[i] of y, i ascending.
void scatter_add(size_t count, size_t cols, const float* x, const int32_t* ids, float* y);

}  // namespace llmkit
