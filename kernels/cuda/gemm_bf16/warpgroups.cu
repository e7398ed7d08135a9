#include "cuda/base/launch.h"
#include "cuda/base/ring.h"
#include "cuda/gemm_bf16/products.h"

// The bf16 product on chips of compute capability 9.0, both operands along k. A block makes 128
// rows x 256 columns of y, or 128 where that gives too few blocks: each of two warpgroups 64 of the
// rows, while a third fills a ring of stages of 64 k with boxes that the copy engine cuts out of
// the operands.
//
// Why 256 columns: such a chip makes 4096 operations per clock and processor, so a stage, 2 * 128 *
// 256 * 64 operations, takes 1024 clocks. It brings (128 + 256) * 128 bytes, 48 per clock, of the
// 64 that a processor can get from L2; with 128 columns the same operations would bring 64. In
// shared memory a product of 64 x 256 x 16 reads 2 + 8 KB in its 128 clocks, 80 bytes per clock;
// with the 48 that arrive, that is all of the 128 that shared memory moves. Two products of 128
// columns would read the rows twice, 96 bytes per clock.

namespace llmkit::cuda {
namespace {

constexpr int kBlockRows = 128, kStages = 4, kWide = 256, kNarrow = 128;
constexpr int kRingBytes = 2 * kStages * 8;

template <int kColumns>
constexpr int kStageBytes = (kBlockRows + kColumns) * kBoxColumns * 2;

/// The product and its operands for the copy engine.
struct GroupArgs {
  Bf16GemmArgs product;
  TensorMap a, b;
};

#ifdef LLMKIT_WARPGROUPS

constexpr int kGroupRows = 64;

/// Queues sums = (keep ? sums : 0) + the products of a stage, of the warpgroup's rows.
template <int kColumns>
__device__ __forceinline__ void multiply_stage(uint32_t stage, bool keep,
                                               float (&sums)[kColumns / 8][4]) {
  const uint32_t a = stage + threadIdx.x / 128 * (kGroupRows * 128), b = stage + kBlockRows * 128;
#pragma unroll
  for (int step = 0; step < kBoxColumns / 16; ++step)
    multiply_add_group(sums, shared_operand(a + step * 32), shared_operand(b + step * 32),
                       keep || step > 0);
}

template <int kColumns>
__device__ __forceinline__ void write_sums(const Bf16GemmArgs& args, size_t row, size_t col,
                                           const float (&sums)[kColumns / 8][4]) {
  const int lane = threadIdx.x % kWarp;
  const size_t r = row + threadIdx.x / kWarp * 16 + lane / 4;
#pragma unroll
  for (int j = 0; j < kColumns / 8; ++j) {
    const size_t c = col + 8 * j + 2 * (lane % 4);
    write_pair(args, r, c, sums[j][0], sums[j][1]);
    write_pair(args, r + 8, c, sums[j][2], sums[j][3]);
  }
}

/// What a warp copies into the ring. Rows past the end of an operand are zeros, and count.
template <int kColumns>
__device__ __forceinline__ void fill_stages(const GroupArgs& args, const Ring<kStages>& ring,
                                            uint32_t stages, int steps) {
  const int row = static_cast<int>(blockIdx.x) * kBlockRows;
  const int col = static_cast<int>(blockIdx.y) * kColumns;
  for (int step = 0; step < steps; ++step) {
    ring.begin_fill(step, kStageBytes<kColumns>);
    const uint32_t stage = stages + step % kStages * kStageBytes<kColumns>;
    if (threadIdx.x % kWarp != 0) continue;
    copy_box(stage, args.a, step * kBoxColumns, row, ring.full(step));
    copy_box(stage + kBlockRows * 128, args.b, step * kBoxColumns, col, ring.full(step));
  }
}

/// All k, and the results. A stage is given back when the next one's products are under way.
template <int kColumns>
__device__ __forceinline__ void multiply_stages(const GroupArgs& args, const Ring<kStages>& ring,
                                                uint32_t stages, int steps) {
  float sums[kColumns / 8][4];
  for (int step = 0; step < steps; ++step) {
    ring.wait(step);
    begin_products();
    multiply_stage<kColumns>(stages + step % kStages * kStageBytes<kColumns>, step > 0, sums);
    commit_products();
    wait_products<1>();
    if (step > 0) ring.release(step - 1);
  }
  wait_products<0>();
  settle_sums(sums);
  write_sums<kColumns>(args.product, size_t{blockIdx.x} * kBlockRows, size_t{blockIdx.y} * kColumns,
                       sums);
}

template <int kColumns>
__device__ __forceinline__ void multiply_block(const GroupArgs& args) {
  const uint32_t stages = shared_address(dynamic_shared());
  const Ring<kStages> ring = {stages + kStages * kStageBytes<kColumns>};
  const int steps = static_cast<int>((args.product.k + kBoxColumns - 1) / kBoxColumns);
  ring.init();
  __syncthreads();
  fill_and_use([&] { fill_stages<kColumns>(args, ring, stages, steps); },
               [&] { multiply_stages<kColumns>(args, ring, stages, steps); });
}

#endif

template <int kColumns>
__global__ void __launch_bounds__(kGroupThreads, 1)
    multiply_by_groups(const __grid_constant__ GroupArgs args) {
#ifdef LLMKIT_WARPGROUPS
  multiply_block<kColumns>(args);
#endif
}

constexpr size_t kMostBytes = kStages * kStageBytes<kWide> + kRingBytes;
static_assert(kMostBytes <= 227 * 1024, "what a chip of compute capability 9.0 has for a block");

Bf16Matrix matrix_of(const Bf16Operand& operand, size_t rows, size_t k) {
  return {operand.values, rows, bf16_step(k), operand.step};
}

template <int kColumns>
cudaError_t launch_multiply(const Bf16GemmArgs& args, cudaStream_t stream) {
  GroupArgs all = {};
  all.product = args;
  cudaError_t error = make_tensor_map(matrix_of(args.a, args.m, args.k), kBlockRows, &all.a);
  if (error == cudaSuccess)
    error = make_tensor_map(matrix_of(args.b, args.n, args.k), kColumns, &all.b);
  if (error != cudaSuccess) return error;
  const dim3 grid(blocks_of(args.m, kBlockRows), blocks_of(args.n, kColumns));
  const size_t bytes = kStages * kStageBytes<kColumns> + kRingBytes;
  return launch(multiply_by_groups<kColumns>, {grid, kGroupThreads, bytes, stream}, all);
}

}  // namespace

cudaError_t gemm_bf16_by_groups(const Bf16GemmArgs& args, cudaStream_t stream) {
  const size_t wide = size_t{blocks_of(args.m, kBlockRows)} * blocks_of(args.n, kWide);
  return wide >= kEnoughBlocks ? launch_multiply<kWide>(args, stream)
                               : launch_multiply<kNarrow>(args, stream);
}

}  // namespace llmkit::cuda
