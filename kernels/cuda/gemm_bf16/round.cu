#include "cuda/base/instructions.h"
#include "cuda/base/launch.h"
#include "cuda/gemm_bf16/gemm_bf16.h"

namespace llmkit::cuda {
namespace {

constexpr int kThreads = 256;

/// 8 values in bf16, zeros behind the first `count`; `to` is aligned to 16 bytes.
template <class ValueAt>
__device__ __forceinline__ void store_chunk(bf16* to, size_t count, const ValueAt& value_at) {
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 8; i += 2) {
    const float low = static_cast<size_t>(i) < count ? value_at(i) : 0.0f;
    const float high = static_cast<size_t>(i) + 1 < count ? value_at(i + 1) : 0.0f;
    words[i / 2] = pack_bf16(low, high);
  }
  *reinterpret_cast<uint4*>(to) = make_uint4(words[0], words[1], words[2], words[3]);
}

/// Each thread rounds 8 columns of a row, the padding included.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    round_kernel(const T* values, size_t rows, size_t cols, bf16* rounded) {
  const size_t task = size_t{blockIdx.x} * kThreads + threadIdx.x;
  const size_t chunks = bf16_step(cols) / 8, row = task / chunks, col = task % chunks * 8;
  if (row >= rows) return;
  const T* const from = values + row * cols + col;
  store_chunk(rounded + task * 8, cols - col, [&](int i) { return static_cast<float>(from[i]); });
}

/// Rows and columns that a block transposes.
constexpr int kSide = 64;

template <typename T>
__global__ void __launch_bounds__(kThreads)
    round_transposed_kernel(const T* values, size_t rows, size_t cols, bf16* rounded) {
  __shared__ float tile[kSide][kSide + 1];
  const size_t first_row = size_t{blockIdx.x} * kSide, first_col = size_t{blockIdx.y} * kSide;
#pragma unroll
  for (int place = threadIdx.x; place < kSide * kSide; place += kThreads) {
    const size_t row = first_row + place / kSide, col = first_col + place % kSide;
    const bool inside = row < rows && col < cols;
    tile[place / kSide][place % kSide] =
        inside ? static_cast<float>(values[row * cols + col]) : 0.0f;
  }
  __syncthreads();
#pragma unroll
  for (int place = threadIdx.x; place < kSide * kSide / 8; place += kThreads) {
    const int col = place / (kSide / 8), row = place % (kSide / 8) * 8;
    if (first_col + col >= cols || first_row + row >= rows) continue;
    bf16* const to = rounded + (first_col + col) * bf16_step(rows) + first_row + row;
    store_chunk(to, rows - first_row - row, [&](int i) { return tile[row + i][col]; });
  }
}

}  // namespace

cudaError_t round_to_bf16(const ConstElements& values, size_t rows, size_t cols, bf16* rounded,
                          cudaStream_t stream) {
  const size_t chunks = rows * (bf16_step(cols) / 8);
  return with_elements(values, [&](const auto* from) {
    return launch(round_kernel<ElementOf<decltype(from)>>,
                  {blocks_of(chunks, kThreads), kThreads, 0, stream}, from, rows, cols, rounded);
  });
}

cudaError_t round_transposed(const ConstElements& values, size_t rows, size_t cols, bf16* rounded,
                             cudaStream_t stream) {
  const dim3 grid(blocks_of(rows, kSide), blocks_of(cols, kSide));
  return with_elements(values, [&](const auto* from) {
    return launch(round_transposed_kernel<ElementOf<decltype(from)>>, {grid, kThreads, 0, stream},
                  from, rows, cols, rounded);
  });
}

}  // namespace llmkit::cuda
