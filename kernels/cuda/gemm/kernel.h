#pragma once

#include <algorithm>

#include "cuda/base/launch.h"
#include "cuda/gemm/tile.h"

// The kernel of the float32 product; gemm_dense and gemm_stored are made of it.

namespace llmkit::cuda {
namespace {  // each file that includes this has kernels of its own

/// The sums of a thread: of the slice under way, and of those before it.
template <class Shape>
struct Sums {
  float slice[Shape::kThreadI][Shape::kThreadJ], total[Shape::kThreadI][Shape::kThreadJ];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < Shape::kThreadI; ++i)
#pragma unroll
      for (int j = 0; j < Shape::kThreadJ; ++j) slice[i][j] = total[i][j] = 0.0f;
  }
  __device__ __forceinline__ void multiply(const float* p, const float* q, int thread_i,
                                           int thread_j) {
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      float a[Shape::kThreadI], b[Shape::kThreadJ];
      gemm_fragment<Shape::kThreadsI>(p + k * kTileStride<Shape::kI>, thread_i, a);
      gemm_fragment<Shape::kThreadsJ>(q + k * kTileStride<Shape::kJ>, thread_j, b);
#pragma unroll
      for (int i = 0; i < Shape::kThreadI; ++i)
#pragma unroll
        for (int j = 0; j < Shape::kThreadJ; ++j) slice[i][j] = fmaf(a[i], b[j], slice[i][j]);
    }
  }
  __device__ __forceinline__ void end_slice() {
#pragma unroll
    for (int i = 0; i < Shape::kThreadI; ++i)
#pragma unroll
      for (int j = 0; j < Shape::kThreadJ; ++j) {
        total[i][j] += slice[i][j];
        slice[i][j] = 0.0f;
      }
  }
};

template <class Shape>
__device__ __forceinline__ void write(const GemmProblem& g, const Sums<Shape>& sums, size_t i_first,
                                      size_t j_first, size_t matrix, size_t slice) {
  const int thread_i = threadIdx.x % Shape::kThreadsI, thread_j = threadIdx.x / Shape::kThreadsI;
#pragma unroll
  for (int b = 0; b < Shape::kThreadJ; ++b) {
    const size_t j = j_first + gemm_place<Shape::kThreadsJ, Shape::kThreadJ>(thread_j, b);
#pragma unroll
    for (int a = 0; a < Shape::kThreadI; ++a) {
      const size_t i = i_first + gemm_place<Shape::kThreadsI, Shape::kThreadI>(thread_i, a);
      if (i >= g.i || j >= g.j) continue;
      if (g.partials != nullptr) {
        g.partials[((slice * g.batch + matrix) * g.j + j) * g.i + i] = sums.total[a][b];
      } else {
        const size_t place = matrix * g.i * g.j + i * g.y_i + j * g.y_j;
        g.y[place] = gemm_finish(g, sums.total[a][b], i, place);
      }
    }
  }
}

/// Slices [slice, slice + slices) of one block of the result, read by `p` and `q`.
template <class Shape, class ReaderP, class ReaderQ>
__device__ __forceinline__ void add_up(const GemmProblem& g, ReaderP& p, ReaderQ& q, size_t slice,
                                       size_t slices, Sums<Shape>& sums) {
  __shared__ __align__(16) float tiles_p[2][kDepth * kTileStride<Shape::kI>];
  __shared__ __align__(16) float tiles_q[2][kDepth * kTileStride<Shape::kJ>];
  const int thread_i = threadIdx.x % Shape::kThreadsI, thread_j = threadIdx.x / Shape::kThreadsI;
  const size_t begin = gemm_slice_begin(slice, g.k), end = gemm_slice_begin(slice + slices, g.k);
  sums.clear();
  __syncthreads();  // the tiles of the matrix before may still be read
  for (size_t tile = begin; tile <= end; ++tile) {
    if (tile < end) {
      const size_t left = g.k - tile * kDepth;
      const int depth = left < kDepth ? static_cast<int>(left) : kDepth;
      p.fetch(depth);
      q.fetch(depth);
    }
    if (tile > begin) {
      const int last = (tile - begin + 1) % 2;
      sums.multiply(tiles_p[last], tiles_q[last], thread_i, thread_j);
      for (; slice < kGemmSlices && gemm_slice_begin(slice + 1, g.k) <= tile; ++slice)
        sums.end_slice();
    }
    if (tile < end) {
      const int next = (tile - begin) % 2;
      p.store(tiles_p[next]);
      q.store(tiles_q[next]);
      __syncthreads();
    }
  }
}

template <class Shape, bool kWeight>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kMinBlocks) gemm_kernel(GemmProblem g) {
  __shared__ float codebook[16];
  if (kWeight && threadIdx.x < 16) codebook[threadIdx.x] = g.weight.codebook[threadIdx.x];
  if (kWeight) __syncthreads();
  const size_t i_first = size_t{blockIdx.x} * Shape::kI, j_first = size_t{blockIdx.y} * Shape::kJ;
  const size_t shares = g.partials == nullptr ? 1 : kGemmSlices, slices = kGemmSlices / shares;
  for (size_t z = blockIdx.z; z < g.batch * shares; z += gridDim.z) {
    const size_t matrix = z / shares, slice = z % shares;
    const size_t k = gemm_slice_begin(slice, g.k) * kDepth;
    Sums<Shape> sums;
    DenseReader<Shape::kJ, Shape::kThreads> q(g.q, matrix, j_first, g.j, k);
    if constexpr (kWeight) {
      StoredReader<Shape::kI, Shape::kThreads> p(g, codebook, i_first, k);
      add_up(g, p, q, slice, slices, sums);
    } else {
      DenseReader<Shape::kI, Shape::kThreads> p(g.p, matrix, i_first, g.i, k);
      add_up(g, p, q, slice, slices, sums);
    }
    write(g, sums, i_first, j_first, matrix, slice);
  }
}

/// A block takes every so many-th matrix.
constexpr size_t kMaxGridZ = 4096;

template <class Shape, bool kWeight>
cudaError_t launch_gemm(const GemmProblem& g, cudaStream_t stream) {
  const size_t z = g.batch * (g.partials == nullptr ? 1 : kGemmSlices);
  const Launch how = {dim3(blocks_of(g.i, Shape::kI), blocks_of(g.j, Shape::kJ),
                           static_cast<unsigned>(std::min(z, kMaxGridZ))),
                      Shape::kThreads, 0, stream};
  return launch(gemm_kernel<Shape, kWeight>, how, g);
}

}  // namespace
}  // namespace llmkit::cuda
