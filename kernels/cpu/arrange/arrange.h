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

/// Axes of a strided copy: those of a tile of six axes, each of which is two.
constexpr size_t kMaxCopyAxes = 12;

/// y[Σ i · y_strides] = x[Σ i · x_strides] for all places i of `shape`, strides in words of four
/// bytes: float32 or int32. No word of y is written twice; y is nowhere in x.
struct StridedCopyArgs {
  size_t axes;  // <= kMaxCopyAxes
  size_t shape[kMaxCopyAxes], x_strides[kMaxCopyAxes], y_strides[kMaxCopyAxes];
  const uint32_t* x;
  uint32_t* y;
};
void strided_copy(const StridedCopyArgs& args);

/// The same copy with neighbouring axes joined that are one on both sides, and without those of
/// length 1.
inline StridedCopyArgs joined(const StridedCopyArgs& p) {
  StridedCopyArgs q = p;
  q.axes = 0;
  for (size_t axis = 0; axis < p.axes; ++axis) {
    if (p.shape[axis] == 1) continue;
    const size_t length = p.shape[axis], from = p.x_strides[axis], to = p.y_strides[axis];
    const size_t last = q.axes - 1;
    if (q.axes > 0 && q.x_strides[last] == from * length && q.y_strides[last] == to * length) {
      q.shape[last] *= length;
    } else {
      ++q.axes;
      q.shape[q.axes - 1] = length;
    }
    q.x_strides[q.axes - 1] = from;
    q.y_strides[q.axes - 1] = to;
  }
  return q;
}

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
