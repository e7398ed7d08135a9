#pragma once

#include "cuda/attention/softmax_bf16.h"

// What the kernels of the rounded forward pass share.

namespace llmkit::cuda {

/// 8 values of a row of `count` floats, zeros beyond its end.
__device__ __forceinline__ void read_floats(const float* row, int from, int count, float (&x)[8]) {
  if (from + 8 <= count && reinterpret_cast<uintptr_t>(row + from) % 16 == 0) {
    const float4 low = *reinterpret_cast<const float4*>(row + from);
    const float4 high = *reinterpret_cast<const float4*>(row + from + 4);
    x[0] = low.x, x[1] = low.y, x[2] = low.z, x[3] = low.w;
    x[4] = high.x, x[5] = high.y, x[6] = high.z, x[7] = high.w;
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) x[i] = from + i < count ? row[from + i] : 0.0f;
}

__device__ __forceinline__ uint4 packed(const float (&x)[8], float factor) {
  return {pack_bf16(x[0] * factor, x[1] * factor), pack_bf16(x[2] * factor, x[3] * factor),
          pack_bf16(x[4] * factor, x[5] * factor), pack_bf16(x[6] * factor, x[7] * factor)};
}

/// Query rows [begin, begin + kRows) as bf16 in shared memory, zeros after the last one.
template <int kE, int kRows>
__device__ inline void load_queries(char* to, const AttentionParams& p, int b, int kv, int begin,
                                    int thread, int threads) {
  using Rows = SharedRows<kE>;
  const int count = p.T * p.group;
  for (int i = thread; i < kRows * Rows::kChunks; i += threads) {
    const int row = i / Rows::kChunks, chunk = i % Rows::kChunks;
    float x[8] = {};
    if (begin + row < count)
      read_floats(p.q + query_of(p, b, kv, begin + row) * p.E, chunk * 8, p.E, x);
    *reinterpret_cast<uint4*>(to + Rows::at(row, chunk)) = packed(x, query_sign(p));
  }
}

}  // namespace llmkit::cuda
