#include "cuda/base/bulk_copy.h"
#include "cuda/base/launch.h"
#include "cuda/emulator/test_kernels.h"

namespace llmkit::cuda {

namespace {

constexpr unsigned kThreads = 64;

__global__ void leave_before_barrier() {
  if (threadIdx.x == 5) return;
  __syncthreads();
}

__global__ void differ_in_barriers() {
  if (threadIdx.x < 7)
    __syncthreads();
  else
    __syncthreads();
}

__global__ void leave_before_shuffle(int* sink) {
  if (threadIdx.x == 3) return;
  *sink = __shfl_xor_sync(kAllLanes, 1, 1);
}

__global__ void read_outside_of_mask(int* sink) {
  if (threadIdx.x % kWarp < 16) *sink = __shfl_sync(0xffffu, 1, 20);
}

__global__ void wait_in_two_places(int* sink) {
  if (threadIdx.x == 0) __syncthreads();
  *sink = __shfl_xor_sync(kAllLanes, 1, 1);
}

__global__ void load_outside(uint32_t* sink) {
  *sink = load_shared_4(shared_address(dynamic_shared()) + 64);
}

__global__ void store_beyond() { dynamic_shared()[64 + threadIdx.x] = 1; }

__global__ void load_unaligned(uint32_t* sink) {
  uint32_t r[4];
  load_matrices(r, shared_address(dynamic_shared()) + 8);
  *sink = r[0];
}

__global__ void multiply_unpublished(const float* from) {
  char* const shared = dynamic_shared();
  copy_async(shared_address(shared + threadIdx.x * 16), from);
  commit_copies();
  wait_copies<0>();
  __syncthreads();
  float c[2][4] = {};
  const uint32_t a[4] = {};
  multiply_add_group(c, a, shared_operand(shared_address(shared)), true);
}

__global__ void multiply_unaligned() { shared_operand(shared_address(dynamic_shared()) + 128); }

/// A barrier at the beginning of shared memory, then a copy to what follows it.
enum class BulkMistake { kAddress, kNotPublished, kOverwritten, kArrivals, kParity, kEnd };
__global__ void copy_bulk_wrongly(const float* from, BulkMistake mistake) {
  char* const shared = dynamic_shared();
  const uint32_t barrier = shared_address(shared);
  if (threadIdx.x > 0) return;
  init_barrier(barrier, 1);
  if (mistake != BulkMistake::kNotPublished) publish_barriers();
  if (mistake == BulkMistake::kOverwritten) shared[3] = 0;
  arrive_expecting(barrier, mistake == BulkMistake::kEnd ? 32 : 16);
  if (mistake == BulkMistake::kArrivals) arrive(barrier);
  copy_bulk(barrier + (mistake == BulkMistake::kAddress ? 24 : 16), from, 16, barrier);
  if (mistake == BulkMistake::kParity) wait_barrier(barrier, 0);
  if (mistake == BulkMistake::kParity) wait_barrier(barrier, 1);
}

__global__ void copy_bulk_through_kernel(const float* from, float* to, bool with_wait) {
  __shared__ __align__(8) uint64_t memory;
  float* const row = reinterpret_cast<float*>(dynamic_shared());
  const uint32_t barrier = shared_address(&memory);
  if (threadIdx.x == 0) {
    init_barrier(barrier, 1);
    publish_barriers();
    arrive_expecting(barrier, 512);
    copy_bulk(shared_address(row), from, 512, barrier);
  }
  __syncthreads();
  if (with_wait) wait_barrier(barrier, 0);
  for (int i = 0; i < 4; ++i) to[4 * threadIdx.x + i] = row[4 * threadIdx.x + i];
  if (!with_wait) wait_barrier(barrier, 0);
}

/// Two boxes of 64 columns and 8 rows, from column 64 on.
__global__ void copy_boxes_kernel(const __grid_constant__ TensorMap map, uint16_t* to) {
  char* const shared = dynamic_shared();
  const uint32_t boxes = shared_address(shared), barrier = boxes + 2048;
  if (threadIdx.x == 0) {
    init_barrier(barrier, 1);
    publish_barriers();
    arrive_expecting(barrier, 2048);
    copy_box(boxes, map, 64, 0, barrier);
    copy_box(boxes + 1024, map, 64, 8, barrier);
  }
  __syncthreads();
  wait_barrier(barrier, 0);
  for (int i = threadIdx.x; i < 1024; i += kWarp)
    to[i] = reinterpret_cast<const uint16_t*>(shared)[i];
}

__global__ void pass_on_kernel(int* to, int step, bool with_barrier) {
  __shared__ int row[kThreads];
  const int i = static_cast<int>(threadIdx.x);
  row[i] = i;
  if (with_barrier) __syncthreads();
  to[i] = row[(i + step + static_cast<int>(kThreads)) % static_cast<int>(kThreads)];
}

__global__ void copy_through_kernel(const float* from, float* to, bool with_wait) {
  __shared__ __align__(16) float row[4 * kWarp];
  float* const mine = row + 4 * threadIdx.x;
  copy_async(shared_address(mine), from + 4 * threadIdx.x);
  commit_copies();
  if (with_wait) wait_copies<0>();
  for (int i = 0; i < 4; ++i) to[4 * threadIdx.x + i] = mine[i];
}

__global__ void read_unwritten_kernel(float* to) {
  __shared__ float row[kThreads];
  to[threadIdx.x] = row[threadIdx.x];
  row[threadIdx.x] = 1;
}

__global__ void write_ones_kernel(float* to, size_t n) {
  for (size_t i = threadIdx.x; i < n; i += kThreads) to[i] = 1;
}

}  // namespace

cudaError_t make_mistake(Mistake mistake, cudaStream_t stream) {
  static uint32_t sink;
  static float zeros[4 * kThreads] __attribute__((aligned(16)));
  const auto copy_wrongly = [&](BulkMistake how) {
    return launch(copy_bulk_wrongly, {1, 1, 64, stream}, zeros, how);
  };
  int* const number = reinterpret_cast<int*>(&sink);
  const Launch how = {2, kThreads, 64, stream};
  switch (mistake) {
    case Mistake::kThreadLeavesBeforeBarrier:
      return launch(leave_before_barrier, how);
    case Mistake::kBarriersDiffer:
      return launch(differ_in_barriers, how);
    case Mistake::kLaneLeavesBeforeShuffle:
      return launch(leave_before_shuffle, how, number);
    case Mistake::kMaskLeavesOutReader:
      return launch(read_outside_of_mask, how, number);
    case Mistake::kWarpWaitsForBarrier:
      return launch(wait_in_two_places, how, number);
    case Mistake::kLoadOutsideOfSharedMemory:
      return launch(load_outside, how, &sink);
    case Mistake::kStoreBeyondSharedMemory:
      return launch(store_beyond, how);
    case Mistake::kMatrixRowNotAligned:
      return launch(load_unaligned, how, &sink);
    case Mistake::kProductOfUnpublishedCopy:
      return launch(multiply_unpublished, {1, 128, 2048, stream}, zeros);
    case Mistake::kOperandNotAligned:
      return launch(multiply_unaligned, {1, 1, 2048, stream});
    case Mistake::kBulkCopyNotAligned:
      return copy_wrongly(BulkMistake::kAddress);
    case Mistake::kBarrierNotPublished:
      return copy_wrongly(BulkMistake::kNotPublished);
    case Mistake::kBarrierOverwritten:
      return copy_wrongly(BulkMistake::kOverwritten);
    case Mistake::kTooManyArrivals:
      return copy_wrongly(BulkMistake::kArrivals);
    case Mistake::kWaitForNothing:
      return copy_wrongly(BulkMistake::kParity);
    case Mistake::kBlockEndsBeforeCopy:
      return copy_wrongly(BulkMistake::kEnd);
  }
  return cudaErrorInvalidValue;
}

cudaError_t write_ones(float* to, size_t n, cudaStream_t stream) {
  return launch(write_ones_kernel, {1, kThreads, 0, stream}, to, n);
}

cudaError_t copy_boxes(const Bf16Matrix& matrix, uint16_t* to, cudaStream_t stream) {
  TensorMap map;
  const cudaError_t error = make_tensor_map(matrix, 8, &map);
  if (error != cudaSuccess) return error;
  return launch(copy_boxes_kernel, {1, kWarp, 2056, stream}, map, to);
}

cudaError_t pass_on(int* to, int step, bool with_barrier, cudaStream_t stream) {
  return launch(pass_on_kernel, {1, kThreads, 0, stream}, to, step, with_barrier);
}

cudaError_t copy_through(const float* from, float* to, bool with_wait, cudaStream_t stream) {
  return launch(copy_through_kernel, {1, kWarp, 0, stream}, from, to, with_wait);
}

cudaError_t copy_bulk_through(const float* from, float* to, bool with_wait, cudaStream_t stream) {
  return launch(copy_bulk_through_kernel, {1, kWarp, 512, stream}, from, to, with_wait);
}

cudaError_t read_unwritten(float* to, cudaStream_t stream) {
  return launch(read_unwritten_kernel, {1, kThreads, 0, stream}, to);
}

}  // namespace llmkit::cuda
