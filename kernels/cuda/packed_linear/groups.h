#pragma once

#include "cuda/base/instructions.h"
#include "cuda/packed_linear/products.h"

namespace llmkit::cuda {

/// Shared memory of the scales and the zero points of a tile, at most two groups.
constexpr int kScaleSpace = 256, kZeroSpace = 64;
template <class Codec>
constexpr int kGroupSpace = Codec::kScaled ? kScaleSpace + kZeroSpace : 0;
template <class Codec>
constexpr int kTileBytes = Codec::kPlanes* kPlaneBytes;

/// Queues copy number `piece` (0..19) of 16 bytes of the scales and zero points of a tile, if the
/// weight has as many. Copies zeros where the tile is past the end.
__device__ __forceinline__ void copy_group_piece(const WeightArgs& w, int row_tile, int tile,
                                                 bool valid, uint32_t to, int piece) {
  const int copies = w.half_tiles ? 2 : 1;
  const size_t index = static_cast<size_t>(row_tile) * w.groups + w.group_of(tile);
  if (piece < copies * w.scale_stride / 16)
    copy_async_or_zero(to + piece * 16, w.scales + index * w.scale_stride + piece * 16, valid);
  const int zero = piece - kScaleSpace / 16;
  if (w.zeros != nullptr && zero >= 0 && zero < copies * 2)
    copy_async_or_zero(to + kScaleSpace + zero * 16, w.zeros + index * kTileRows + zero * 16,
                       valid);
}

/// The four scales of chunk row P, from the scales of 32 rows in shared memory.
__device__ __forceinline__ void load_scales(const WeightArgs& w, uint32_t scales, int P,
                                            float (&scale)[4]) {
  if (w.scale_type == ScaleType::kF32) {
    const uint4 v = load_shared_16(scales + P * 16);
    scale[0] = __uint_as_float(v.x);
    scale[1] = __uint_as_float(v.y);
    scale[2] = __uint_as_float(v.z);
    scale[3] = __uint_as_float(v.w);
    return;
  }
  const uint2 v = load_shared_8(scales + P * 8);
  if (w.scale_type == ScaleType::kBf16) {
    scale[0] = __uint_as_float(v.x << 16);
    scale[1] = __uint_as_float(v.x & 0xffff0000u);
    scale[2] = __uint_as_float(v.y << 16);
    scale[3] = __uint_as_float(v.y & 0xffff0000u);
    return;
  }
  __half2 pairs[2];
  memcpy(&pairs[0], &v.x, 4);
  memcpy(&pairs[1], &v.y, 4);
  const float2 low = __half22float2(pairs[0]), high = __half22float2(pairs[1]);
  scale[0] = low.x;
  scale[1] = low.y;
  scale[2] = high.x;
  scale[3] = high.y;
}

}  // namespace llmkit::cuda
