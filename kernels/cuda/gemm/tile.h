#pragma once

#include "cuda/gemm/gemm.h"
#include "cuda/weight/decode.h"

// Device code of the float32 product: y(i, j) = sum over k of p(i, k) q(j, k). Both operands pass
// through shared memory in tiles of kDepth k, turned so that i and j run along its rows.

namespace llmkit::cuda {

constexpr int kDepth = 16;

/// A block computes [kI, kJ] of the result; each thread [kThreadI, kThreadJ] of that. So many
/// blocks fit into a multiprocessor's registers at least.
template <int kI_, int kJ_, int kThreadI_, int kThreadJ_, int kMinBlocks_>
struct GemmShape {
  static constexpr int kI = kI_, kJ = kJ_, kThreadI = kThreadI_, kThreadJ = kThreadJ_;
  static constexpr int kMinBlocks = kMinBlocks_;
  static constexpr int kThreadsI = kI / kThreadI, kThreadsJ = kJ / kThreadJ;
  static constexpr int kThreads = kThreadsI * kThreadsJ;
};

// Which shape computes an output, and whether in one block or slice by slice, changes no bit of it.
using Large = GemmShape<128, 128, 8, 8, 1>;
using Medium = GemmShape<64, 64, 4, 4, 2>;
using Narrow = GemmShape<128, 16, 4, 4, 3>;
using Thin = GemmShape<128, 4, 4, 1, 4>;

/// A product as its kernel takes it.
struct GemmProblem {
  GemmOperand p, q;
  StoredWeight weight;  // p, where weight_is says so
  GemmWeight weight_is;
  size_t batch, i, j, k;
  float* y;  // (i, j) at i * y_i + j * y_j
  size_t y_i, y_j;
  const float* bias;  // along i
  const float* residual;
  float scale;
  float* partials;  // [slice, batch, j, i], if each slice has its own blocks
};

/// The first tile of k of a slice.
__host__ __device__ inline size_t gemm_slice_begin(size_t slice, size_t k) {
  return slice * ((k + kDepth - 1) / kDepth) / kGemmSlices;
}

/// Rows of a tile in shared memory: the padding spreads the banks and keeps 16 bytes aligned.
template <int kWidth>
constexpr int kTileStride = kWidth + 4;

template <int kWidth, int kThreads>
constexpr int kPieceSize = kWidth* kDepth < kThreads ? 1 : kWidth* kDepth / kThreads;

/// Takes tiles of a matrix in memory to shared memory, the next one while the last is used.
/// Neighbouring threads read neighbouring elements.
template <int kWidth, int kThreads>
class DenseReader {
 public:
  /// Rows [first, end) of the matrix; the first tile begins at element `k`.
  __device__ __forceinline__ DenseReader(const GemmOperand& from, size_t matrix, size_t first,
                                         size_t end, size_t k) {
    const int t = threadIdx.x;
    const bool along = from.k_step == 1;
    i_ = along ? t / kDepth : t % kWidth;
    k_ = along ? t % kDepth : t / kWidth;
    i_step_ = along ? kThreads / kDepth : 0;
    k_step_ = along ? 0 : kThreads / kWidth;
    rows_ = end - first < kWidth ? static_cast<int>(end - first) : kWidth;
    const size_t begin = matrix % from.batch * from.batch_step + (first + i_) * from.row_step +
                         (k + k_) * from.k_step;
    is_bf16_ = from.values.is_bf16;
    at_ = static_cast<const char*>(from.values.data) + begin * (is_bf16_ ? 2 : 4);
    step_ = i_step_ * from.row_step + k_step_ * from.k_step;
    tile_step_ = kDepth * from.k_step;
  }
  /// The next tile, of which `depth` k are inside the matrix.
  __device__ __forceinline__ void fetch(int depth) {
    if (is_bf16_)
      fetch_stored<bf16>(depth);
    else
      fetch_stored<float>(depth);
  }
  __device__ __forceinline__ void store(float* tile) const {
    if (kCount * kThreads > kWidth * kDepth && threadIdx.x >= kWidth * kDepth) return;
    float* const to = tile + k_ * kTileStride<kWidth> + i_;
    const int step = k_step_ * kTileStride<kWidth> + i_step_;
#pragma unroll
    for (int e = 0; e < kCount; ++e) to[e * step] = values_[e];
  }

 private:
  static constexpr int kCount = kPieceSize<kWidth, kThreads>;

  template <typename T>
  __device__ __forceinline__ void fetch_stored(int depth) {
    const T* const at = reinterpret_cast<const T*>(at_);
#pragma unroll
    for (int e = 0; e < kCount; ++e) {
      const bool inside = i_ + e * i_step_ < rows_ && k_ + e * k_step_ < depth;
      values_[e] = inside ? static_cast<float>(at[e * step_]) : 0.0f;
    }
    at_ = reinterpret_cast<const char*>(at + tile_step_);
  }

  const char* at_;  // this thread's first element of the next tile
  bool is_bf16_;
  size_t step_, tile_step_;      // to its next one, to the next tile
  int i_, k_, i_step_, k_step_;  // the same in the tile
  int rows_;
  float values_[kCount] = {};
};

/// The same for a stored weight: each thread decodes a run of elements.
template <int kWidth, int kThreads>
class StoredReader {
 public:
  __device__ __forceinline__ StoredReader(const GemmProblem& g, const float* codebook, size_t first,
                                          size_t k)
      : weight_(g.weight.view), codebook_(codebook), rows_(g.weight_is == GemmWeight::kRows) {
    const int t = threadIdx.x;
    i_ = rows_ ? t / (kDepth / kCount) : t % (kWidth / kCount) * kCount;
    k_ = rows_ ? t % (kDepth / kCount) * kCount : t / (kWidth / kCount);
    row_ = rows_ ? first + i_ : k + k_;
    col_ = rows_ ? k + k_ : first + i_;
  }
  __device__ __forceinline__ void fetch(int) {
    const size_t left = row_ < weight_.rows && col_ < weight_.cols ? weight_.cols - col_ : 0;
    stored_run(weight_, codebook_, row_ * weight_.cols + col_,
               left < kCount ? static_cast<int>(left) : kCount, values_);
    (rows_ ? col_ : row_) += kDepth;
  }
  __device__ __forceinline__ void store(float* tile) const {
    float* const to = tile + k_ * kTileStride<kWidth> + i_;
    const int step = rows_ ? kTileStride<kWidth> : 1;
#pragma unroll
    for (int e = 0; e < kCount; ++e) to[e * step] = values_[e];
  }

 private:
  static constexpr int kCount = kPieceSize<kWidth, kThreads>;
  const WeightView& weight_;
  const float* codebook_;
  bool rows_;  // runs lie along k
  int i_, k_;
  size_t row_, col_;
  float values_[kCount] = {};
};

/// The place in a tile of a thread's element: runs of 4, so that a warp reads shared memory without
/// conflicts.
template <int kThreadCount, int kPerThread>
__device__ __forceinline__ int gemm_place(int thread, int element) {
  if (kPerThread < 4) return element * kThreadCount + thread;
  return element / 4 * (4 * kThreadCount) + thread * 4 + element % 4;
}

template <int kThreadCount, int kPerThread>
__device__ __forceinline__ void gemm_fragment(const float* row, int thread,
                                              float (&out)[kPerThread]) {
  if constexpr (kPerThread % 4 == 0) {
#pragma unroll
    for (int e = 0; e < kPerThread; e += 4) {
      const float4 four =
          *reinterpret_cast<const float4*>(row + gemm_place<kThreadCount, kPerThread>(thread, e));
      out[e] = four.x;
      out[e + 1] = four.y;
      out[e + 2] = four.z;
      out[e + 3] = four.w;
    }
  } else {
#pragma unroll
    for (int e = 0; e < kPerThread; ++e)
      out[e] = row[gemm_place<kThreadCount, kPerThread>(thread, e)];
  }
}

/// What becomes of a sum, the one at `place` of y.
__device__ __forceinline__ float gemm_finish(const GemmProblem& g, float sum, size_t i,
                                             size_t place) {
  float value = sum * g.scale;
  if (g.bias != nullptr) value += g.bias[i];
  if (g.residual != nullptr) value += g.residual[place];
  return value;
}

enum class GemmPick { kLarge, kMedium, kNarrow, kThin };

/// The kernels for operands in memory, and for a stored weight (not Large).
cudaError_t gemm_dense(const GemmProblem& problem, GemmPick pick, cudaStream_t stream);
cudaError_t gemm_stored(const GemmProblem& problem, GemmPick pick, cudaStream_t stream);

}  // namespace llmkit::cuda
