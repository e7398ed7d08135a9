#pragma once

#include <algorithm>

#include "cuda/base/launch.h"

// Kernels over arrays give a thread four neighbouring elements at a time, which move in one access
// where they lie at a multiple of their size. The last ones of an array, and those of an array that
// begins elsewhere, move one by one: the work on them is the same.

namespace llmkit::cuda {

template <typename T>
struct alignas(4 * sizeof(T)) Four {
  T at[4];
};

template <typename T>
__device__ __forceinline__ bool moves_whole(const T* at, size_t i, size_t n) {
  return i + 4 <= n && reinterpret_cast<uintptr_t>(at + i) % sizeof(Four<T>) == 0;
}

/// Four elements at a place where they move whole.
template <typename T>
__device__ __forceinline__ Four<T> load_whole(const T* at) {
  return *reinterpret_cast<const Four<T>*>(at);
}

/// Elements i to i + 3 of x [n]; `rest` after the end.
template <typename T>
__device__ __forceinline__ Four<T> load_four(const T* x, size_t i, size_t n, T rest = T{}) {
  if (moves_whole(x, i, n)) return load_whole(x + i);
  Four<T> four;
#pragma unroll
  for (int e = 0; e < 4; ++e) four.at[e] = i + e < n ? x[i + e] : rest;
  return four;
}

/// Writes those of elements i to i + 3 that y [n] has.
template <typename T>
__device__ __forceinline__ void store_four(T* y, size_t i, size_t n, const Four<T>& four) {
  if (moves_whole(y, i, n)) {
    *reinterpret_cast<Four<T>*>(y + i) = four;
    return;
  }
#pragma unroll
  for (int e = 0; e < 4; ++e)
    if (i + e < n) y[i + e] = four.at[e];
}

/// op of each of four elements, or of each pair.
template <class Op, typename T, typename... More>
__device__ __forceinline__ auto map_four(Op op, const Four<T>& x, const Four<More>&... more) {
  Four<decltype(op(x.at[0], more.at[0]...))> y;
#pragma unroll
  for (int e = 0; e < 4; ++e) y.at[e] = op(x.at[e], more.at[e]...);
  return y;
}

/// The nearest bf16 values, as their bits.
__device__ __forceinline__ Four<uint16_t> to_bf16(const Four<float>& x) {
  return map_four([](float v) { return __bfloat16_as_ushort(__float2bfloat16_rn(v)); }, x);
}
__device__ __forceinline__ Four<float> from_bf16(const Four<uint16_t>& x) {
  return map_four([](uint16_t half) { return __uint_as_float(uint32_t{half} << 16); }, x);
}

// Elements i to i + 3 of x [n] as float32, and back; of bf16 y has the nearest values.

__device__ __forceinline__ Four<float> load_floats(const float* x, size_t i, size_t n) {
  return load_four(x, i, n);
}
__device__ __forceinline__ Four<float> load_whole_floats(const float* at) { return load_whole(at); }
__device__ __forceinline__ Four<float> load_whole_floats(const bf16* at) {
  return from_bf16(load_whole(reinterpret_cast<const uint16_t*>(at)));
}
__device__ __forceinline__ Four<float> load_floats(const bf16* x, size_t i, size_t n) {
  return from_bf16(load_four(reinterpret_cast<const uint16_t*>(x), i, n));
}
__device__ __forceinline__ void store_floats(float* y, size_t i, size_t n,
                                             const Four<float>& four) {
  store_four(y, i, n, four);
}
__device__ __forceinline__ void store_floats(bf16* y, size_t i, size_t n, const Four<float>& four) {
  store_four(reinterpret_cast<uint16_t*>(y), i, n, to_bf16(four));
}

constexpr unsigned kElementThreads = 256;
/// Enough blocks to fill any GPU several times over; threads go round for what is beyond.
constexpr size_t kMostBlocks = 8192;

/// A launch for each_four over n elements.
inline Launch over_elements(size_t n, cudaStream_t stream) {
  const size_t blocks = std::min<size_t>(blocks_of(n, 4 * kElementThreads), kMostBlocks);
  return {dim3(static_cast<unsigned>(blocks)), dim3(kElementThreads), 0, stream};
}

/// Calls body(i) for this thread's share of 0, 4, 8 ... below n.
template <class Body>
__device__ __forceinline__ void each_four(size_t n, Body body) {
  const size_t stride = 4 * size_t{gridDim.x} * blockDim.x;
  for (size_t i = 4 * (size_t{blockIdx.x} * blockDim.x + threadIdx.x); i < n; i += stride) body(i);
}

/// A launch for each_row_four over [rows, cols]. Threads lie along a row as far as it goes.
inline Launch over_rows(size_t rows, size_t cols, cudaStream_t stream) {
  unsigned along = 1;
  while (along < kElementThreads && 4 * along < cols) along *= 2;
  const unsigned down = kElementThreads / along;
  const size_t across = std::min<size_t>(blocks_of(cols, 4 * along), kMostBlocks);
  const size_t bands = std::min<size_t>(blocks_of(rows, down), kMostBlocks);
  return {dim3(static_cast<unsigned>(across), static_cast<unsigned>(bands)), dim3(along, down), 0,
          stream};
}

/// Calls body(row, col) for this thread's share of the rows and of columns 0, 4, 8 ... below cols.
template <class Body>
__device__ __forceinline__ void each_row_four(size_t rows, size_t cols, Body body) {
  const size_t down = size_t{gridDim.y} * blockDim.y, along = 4 * size_t{gridDim.x} * blockDim.x;
  for (size_t row = size_t{blockIdx.y} * blockDim.y + threadIdx.y; row < rows; row += down)
    for (size_t col = 4 * (size_t{blockIdx.x} * blockDim.x + threadIdx.x); col < cols; col += along)
      body(row, col);
}

}  // namespace llmkit::cuda
