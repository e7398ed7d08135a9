#pragma once

#include "cuda/attention/key_rows.h"
#include "cuda/base/instructions.h"

namespace llmkit::cuda {

/// Values [from, from + 8) of a row of `count` floats, zeros beyond its end.
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

/// The same of bf16.
__device__ __forceinline__ void read_floats(const bf16* row, int from, int count, float (&x)[8]) {
  if (from + 8 <= count && reinterpret_cast<uintptr_t>(row + from) % 16 == 0) {
    const uint4 bits = *reinterpret_cast<const uint4*>(row + from);
    const uint32_t pairs[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int i = 0; i < 8; ++i)
      x[i] = __uint_as_float(i % 2 == 0 ? pairs[i / 2] << 16 : pairs[i / 2] & 0xffff0000u);
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) x[i] = from + i < count ? __bfloat162float(row[from + i]) : 0.0f;
}

/// Values [from, from + 8) of a key or value as it is kept, zeros beyond its end; from is a
/// multiple of 8.
__device__ __forceinline__ void read_row(const KeyRows& rows, int b, int head, int key, int from,
                                         float (&x)[8]) {
  const uint8_t* const row = rows.at(b, head, key);
  if (rows.type == KvType::kF32)
    return read_floats(reinterpret_cast<const float*>(row), from, rows.width, x);
  if (rows.type == KvType::kBf16)
    return read_floats(reinterpret_cast<const bf16*>(row), from, rows.width, x);
#pragma unroll
  for (int i = 0; i < 8; ++i) x[i] = 0;
  if (from >= rows.width) return;
  const uint2 codes = *reinterpret_cast<const uint2*>(row + from);
  const float scale = rows.scale(b, head, key);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const uint32_t four = i < 4 ? codes.x : codes.y;
    x[i] = static_cast<float>(static_cast<int8_t>(four >> (8 * (i % 4)))) * scale;
  }
}

/// 8 values as bf16, times a factor.
__device__ __forceinline__ uint4 packed(const float (&x)[8], float factor) {
  return {pack_bf16(x[0] * factor, x[1] * factor), pack_bf16(x[2] * factor, x[3] * factor),
          pack_bf16(x[4] * factor, x[5] * factor), pack_bf16(x[6] * factor, x[7] * factor)};
}

}  // namespace llmkit::cuda
