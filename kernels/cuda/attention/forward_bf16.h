#pragma once

#include "cuda/attention/read_rows.h"
#include "cuda/attention/softmax_bf16.h"

// What the kernels of the rounded forward pass share.

namespace llmkit::cuda {

/// Query rows [begin, begin + kRows) as bf16 in shared memory, zeros after the last one.
template <int kE, int kRows>
__device__ inline void load_queries(char* to, const AttentionParams& p, int b, int kv, int begin,
                                    int thread, int threads) {
  using Rows = SharedRows<kE>;
  const int count = p.rows();
  for (int i = thread; i < kRows * Rows::kChunks; i += threads) {
    const int row = i / Rows::kChunks, chunk = i % Rows::kChunks;
    float x[8] = {};
    if (begin + row < count) {
      const size_t at = query_of(p, b, kv, begin + row) * p.E;
      if (p.q.is_bf16)
        read_floats(static_cast<const bf16*>(p.q.data) + at, chunk * 8, p.E, x);
      else
        read_floats(p.float_q() + at, chunk * 8, p.E, x);
    }
    *reinterpret_cast<uint4*>(to + Rows::at(row, chunk)) = packed(x, query_sign(p));
  }
}

}  // namespace llmkit::cuda
