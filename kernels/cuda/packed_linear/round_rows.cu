#include "cuda/base/instructions.h"
#include "cuda/base/launch.h"
#include "cuda/packed_linear/products.h"

namespace llmkit::cuda {
namespace {

constexpr unsigned kThreads = 256;

/// Rows that are written.
LLMKIT_HOST_DEVICE size_t rows_of(const RoundArgs& args) {
  return args.in_tiles ? whole_rows(static_cast<int>(args.rows)) : args.rows;
}

/// 8 values of a row from `x` on, of which `left` are there, as bf16; zeros for the others.
/// kAligned: rows begin at multiples of 16 bytes.
template <bool kAligned>
__device__ __forceinline__ uint4 eight_of(const float* x, size_t left) {
  float v[8] = {};
  if (kAligned && left >= 8) {
    const float4 low = *reinterpret_cast<const float4*>(x);
    const float4 high = *reinterpret_cast<const float4*>(x + 4);
    v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w;
    v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
  } else {
#pragma unroll
    for (size_t i = 0; i < 8; ++i) v[i] = i < left ? x[i] : 0.0f;
  }
  return make_uint4(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]),
                    pack_bf16(v[6], v[7]));
}
template <bool kAligned>
__device__ __forceinline__ uint4 eight_of(const bf16* x, size_t left) {
  if (kAligned && left >= 8) return *reinterpret_cast<const uint4*>(x);
  float v[8];
#pragma unroll
  for (size_t i = 0; i < 8; ++i) v[i] = i < left ? __bfloat162float(x[i]) : 0.0f;
  return make_uint4(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]),
                    pack_bf16(v[6], v[7]));
}

/// A thread makes 8 values.
template <bool kAligned, typename X>
__global__ void round_eight(const RoundArgs args, const X* x) {
  const size_t index = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index < args.counter_count) args.counters[index] = 0;
  const size_t pieces = args.padded / 8, row = index / pieces, column = index % pieces * 8;
  if (row >= rows_of(args)) return;
  // Zeros behind the last row, so that nothing reads what was never written.
  const size_t left = row < args.rows && column < args.cols ? args.cols - column : 0;
  const uint4 eight = eight_of<kAligned>(x + row * args.cols + column, left);
  const size_t to =
      args.in_tiles ? piece_of_tiles(row, column / 8, args.padded / kTileColumns) : index;
  reinterpret_cast<uint4*>(args.y)[to] = eight;
}

}  // namespace

cudaError_t round_rows(const RoundArgs& args, cudaStream_t stream) {
  const size_t pieces = rows_of(args) * args.padded / 8;
  const size_t count = pieces > args.counter_count ? pieces : args.counter_count;
  const Launch blocks = {blocks_of(count, kThreads), kThreads, 0, stream};
  return with_elements(args.x, [&](const auto* x) {
    using X = ElementOf<decltype(x)>;
    const bool aligned =
        args.cols * sizeof(X) % 16 == 0 && reinterpret_cast<uintptr_t>(x) % 16 == 0;
    return launch(aligned ? round_eight<true, X> : round_eight<false, X>, blocks, args, x);
  });
}

}  // namespace llmkit::cuda
