#pragma once

#include <cstddef>

namespace llmkit {

struct MatmulArgs {
  size_t batch_a, batch_b, m, n, k;
  const float* a;  // [batch_a, m, k], or [batch_a, k, m] when transposed
  const float* b;  // [batch_b, k, n], or [batch_b, n, k]
  float* y;        // [max(batch_a, batch_b), m, n]
  bool transpose_a, transpose_b;
};

/// y = a · b for every matrix of the batch, threaded; matrix i is made of matrices i mod batch_a
/// and i mod batch_b. Dot form when b is transposed, else axpy form.
void matmul(const MatmulArgs& args);

}  // namespace llmkit
