#pragma once

#include <cstddef>

#include "testing/testing.h"

namespace llmkit {

/// sum over k of a[k * step_a] b[k * step_b] + start, in double
inline testing::Sum dot_reference(size_t k, const float* a, size_t step_a, const float* b,
                                  size_t step_b, double start = 0) {
  testing::Sum sum;
  sum.add(start);
  for (size_t i = 0; i < k; ++i) sum.add(double{a[i * step_a]} * b[i * step_b]);
  return sum;
}

}  // namespace llmkit
