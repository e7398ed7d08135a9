#pragma once

#include <cstddef>

namespace llmkit {

/// y[m, n] = sum over k of x[m, k] w[n, k] + bias[n]: the rows of both operands run along k.
struct DotArgs {
  size_t m, n, k;
  const float* x;
  size_t ldx;  // elements from a row to the next
  const float* w;
  size_t ldw;
  const float* bias;  // may be null
  float* y;
  size_t ldy;
};

/// y[m, n] (+)= sum over k of a[m, k] b[k, n], where a[m, k] is a[m * row_step + k * k_step].
struct AxpyArgs {
  size_t m, n, k;
  const float* a;
  size_t row_step, k_step;
  const float* b;
  size_t ldb;
  float* y;
  size_t ldy;
  bool accumulate;
};

}  // namespace llmkit
