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

/// A thread makes 8 values; kAligned: rows of x are made of whole float4s.
template <bool kAligned>
__global__ void round_eight(const RoundArgs args) {
  const size_t index = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index < args.counter_count) args.counters[index] = 0;
  const size_t pieces = args.padded / 8, row = index / pieces, column = index % pieces * 8;
  if (row >= rows_of(args)) return;
  const float* const x = args.x + row * args.cols + column;
  float v[8] = {};
  if (row >= args.rows) {
    // Zeros, so that nothing reads what was never written.
  } else if (kAligned && column + 8 <= args.cols) {
    const float4 low = *reinterpret_cast<const float4*>(x);
    const float4 high = *reinterpret_cast<const float4*>(x + 4);
    v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w;
    v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = column + i < args.cols ? x[i] : 0.0f;
  }
  const size_t to =
      args.in_tiles ? piece_of_tiles(row, column / 8, args.padded / kTileColumns) : index;
  reinterpret_cast<uint4*>(args.y)[to] = make_uint4(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]),
                                                    pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
}

}  // namespace

cudaError_t round_rows(const RoundArgs& args, cudaStream_t stream) {
  const bool aligned = args.cols % 4 == 0 && reinterpret_cast<uintptr_t>(args.x) % 16 == 0;
  const size_t pieces = rows_of(args) * args.padded / 8;
  const size_t count = pieces > args.counter_count ? pieces : args.counter_count;
  return launch(aligned ? round_eight<true> : round_eight<false>,
                {blocks_of(count, kThreads), kThreads, 0, stream}, args);
}

}  // namespace llmkit::cuda
