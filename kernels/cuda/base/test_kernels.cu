#include "cuda/base/instructions.h"
#include "cuda/base/launch.h"
#include "cuda/base/test_kernels.h"

namespace llmkit::cuda {

namespace {

constexpr unsigned kThreads = 256;

__global__ void fill_kernel(float* to, size_t n, float value) {
  const size_t i = blockIdx.x * size_t{kThreads} + threadIdx.x;
  if (i < n) to[i] = value;
}

__global__ void sum_kernel(const float* values, float* sums) {
  __shared__ float partial[kThreads / kWarp];
  float sum = values[blockIdx.x * size_t{kThreads} + threadIdx.x];
  for (int distance = kWarp / 2; distance > 0; distance /= 2)
    sum += __shfl_xor_sync(kAllLanes, sum, distance);
  if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = sum;
  __syncthreads();
  if (threadIdx.x > 0) return;
  float total = 0;
  for (float warp : partial) total += warp;
  sums[blockIdx.x] = total;
}

__global__ void tree_kernel(const float* values, float* sums) {
  float* const row = reinterpret_cast<float*>(dynamic_shared());
  const unsigned i = threadIdx.x;
  row[i] = values[blockIdx.x * size_t{kThreads} + i];
  for (unsigned half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (i < half) row[i] += row[i + half];
  }
  if (i == 0) sums[blockIdx.x] = row[0];
}

__global__ void multiply_kernel(const bf16* a, const bf16* b, size_t k, float* c) {
  constexpr unsigned kRow = 32;  // bytes of 16 values
  __shared__ __align__(16) char tiles[2][24 * kRow];
  const unsigned lane = threadIdx.x, g = lane / 4, t = lane % 4;
  const auto start = [&](size_t step) {
    const uint32_t to = shared_address(tiles[step % 2]);
    if (step * 16 < k)
      for (unsigned i = lane; i < 48; i += kWarp) {
        const unsigned row = i / 2;
        const bf16* const from = row < 16 ? a + row * k : b + (row - 16) * k;
        copy_async(to + row * kRow + i % 2 * 16, from + step * 16 + i % 2 * 8);
      }
    commit_copies();
  };
  float sums[4] = {};
  start(0);
  for (size_t step = 0; step * 16 < k; ++step) {
    start(step + 1);
    wait_copies<1>();
    __syncwarp();
    const uint32_t tile = shared_address(tiles[step % 2]);
    uint32_t left[4], right[4];
    load_matrices(left, tile + (lane % 16) * kRow + lane / 16 * 16);
    load_matrices(right, tile + (16 + lane % 8) * kRow + lane / 8 % 2 * 16);
    multiply_add(sums, left, right[0], right[1]);
    __syncwarp();
  }
  for (unsigned i = 0; i < 4; ++i) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sums[i];
}

__global__ void transpose_kernel(const bf16* from, bf16* to) {
  __shared__ __align__(16) bf16 tile[64];
  const unsigned lane = threadIdx.x;
  for (unsigned i = lane; i < 64; i += kWarp) tile[i] = from[i];
  __syncwarp();
  uint32_t r[4];
  load_matrices_transposed(r, shared_address(tile + lane % 8 * 8));
  memcpy(to + lane / 4 * 8 + lane % 4 * 2, r, 4);
}

__global__ void exchange_kernel(int* results) {
  const int lane = static_cast<int>(threadIdx.x);
  int* const mine = results + lane;
  mine[0] = __shfl_sync(kAllLanes, lane, 5);
  mine[32] = __shfl_xor_sync(kAllLanes, lane, 3);
  mine[64] = __shfl_up_sync(kAllLanes, lane, 2);
  mine[96] = __shfl_down_sync(kAllLanes, lane, 2);
  mine[128] = __shfl_sync(kAllLanes, lane, 0, 8);
  mine[160] = static_cast<int>(__ballot_sync(kAllLanes, lane % 2));
  mine[192] = __reduce_add_sync(kAllLanes, lane);
}

}  // namespace

cudaError_t fill(float* to, size_t n, float value, cudaStream_t stream) {
  return launch(fill_kernel, {blocks_of(n, kThreads), kThreads, 0, stream}, to, n, value);
}

cudaError_t sum_blocks(const float* values, size_t blocks, float* sums, cudaStream_t stream) {
  return launch(sum_kernel, {static_cast<unsigned>(blocks), kThreads, 0, stream}, values, sums);
}

cudaError_t sum_blocks_in_tree(const float* values, size_t blocks, float* sums,
                               cudaStream_t stream) {
  return launch(tree_kernel,
                {static_cast<unsigned>(blocks), kThreads, kThreads * sizeof(float), stream}, values,
                sums);
}

cudaError_t multiply(const bf16* a, const bf16* b, size_t k, float* c, cudaStream_t stream) {
  return launch(multiply_kernel, {1, kWarp, 0, stream}, a, b, k, c);
}

cudaError_t transpose(const bf16* from, bf16* to, cudaStream_t stream) {
  return launch(transpose_kernel, {1, kWarp, 0, stream}, from, to);
}

cudaError_t exchange(int* results, cudaStream_t stream) {
  return launch(exchange_kernel, {1, kWarp, 0, stream}, results);
}

}  // namespace llmkit::cuda
