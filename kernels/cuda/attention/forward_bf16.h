#pragma once

#include "cuda/attention/read_rows.h"
#include "cuda/attention/softmax_bf16.h"

// What the kernels of the rounded forward pass share.

namespace llmkit::cuda {

__device__ __forceinline__ uint4 packed(const float (&x)[8], float factor) {
  return {pack_bf16(x[0] * factor, x[1] * factor), pack_bf16(x[2] * factor, x[3] * factor),
          pack_bf16(x[4] * factor, x[5] * factor), pack_bf16(x[6] * factor, x[7] * factor)};
}

/// Query rows [begin, begin + kRows) as bf16 in shared memory, zeros after the last one.
template <int kE, int kRows>
__device__ inline void load_queries(char* to, const AttentionParams& p, int b, int kv, int begin,
                                    int thread, int threads) {
  using Rows = SharedRows<kE>;
  const int count = p.rows();
  for (int i = thread; i < kRows * Rows::kChunks; i += threads) {
    const int row = i / Rows::kChunks, chunk = i % Rows::kChunks;
    float x[8] = {};
    if (begin + row < count)
      read_floats(p.q + query_of(p, b, kv, begin + row) * p.E, chunk * 8, p.E, x);
    *reinterpret_cast<uint4*>(to + Rows::at(row, chunk)) = packed(x, query_sign(p));
  }
}

}  // namespace llmkit::cuda
