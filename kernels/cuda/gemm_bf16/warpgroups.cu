#include "cuda/base/launch.h"
#include "cuda/base/warpgroup.h"
#include "cuda/gemm_bf16/products.h"

// The bf16 product on chips of compute capability 9.0, both operands along k. A block of two
// warpgroups makes 128 rows x 128 or 256 columns of y, each group 64 of the rows.

namespace llmkit::cuda {
namespace {

constexpr int kThreads = 256, kBlockRows = 128, kPartColumns = 128, kStages = 4;

template <int kParts>
constexpr int kStageBytes = (kBlockRows + kParts * kPartColumns) * 128;

#ifdef LLMKIT_WARPGROUPS

/// A stage has 64 k, 128 bytes of a row. Copies are kAhead stages ahead: of the others one is being
/// multiplied, and one may still be by the slower warpgroup.
constexpr int kAhead = kStages - 2, kStageDepth = 64, kGroupRows = 64;

/// Copies rows [first, first + kRows) of an operand, and zeros where it has none.
template <int kRows>
__device__ __forceinline__ void copy_rows(uint32_t to, const Bf16Operand& from, size_t first,
                                          size_t count, size_t k, size_t depth) {
#pragma unroll
  for (int id = threadIdx.x; id < kRows * 8; id += kThreads) {
    const int row = id / 8, piece = id % 8;
    const size_t i = first + row, from_k = k + piece * 8;
    const bool inside = i < count && from_k < depth;
    copy_async_or_zero(to + row * 128 + ((piece ^ (row & 7)) << 4),
                       from.values + (inside ? i * from.step + from_k : 0), inside);
  }
}

template <int kParts>
__device__ __forceinline__ void multiply_stage(uint32_t stage, float (&sums)[kParts][16][4]) {
  const uint32_t a = stage + threadIdx.x / 128 * (kGroupRows * 128);
  const uint32_t b = stage + kBlockRows * 128;
#pragma unroll
  for (int step = 0; step < kStageDepth / 16; ++step)
#pragma unroll
    for (int part = 0; part < kParts; ++part)
      multiply_add_group(sums[part], shared_operand(a + step * 32),
                         shared_operand(b + part * (kPartColumns * 128) + step * 32));
}

template <int kParts>
__device__ __forceinline__ void write_sums(const Bf16GemmArgs& args, size_t row, size_t col,
                                           const float (&sums)[kParts][16][4]) {
  const int lane = threadIdx.x % kWarp;
  const size_t r = row + threadIdx.x / kWarp * 16 + lane / 4;
#pragma unroll
  for (int part = 0; part < kParts; ++part)
#pragma unroll
    for (int j = 0; j < 16; ++j) {
      const float(&four)[4] = sums[part][j];
      const size_t c = col + part * kPartColumns + 8 * j + 2 * (lane % 4);
      write_pair(args, r, c, four[0], four[1]);
      write_pair(args, r + 8, c, four[2], four[3]);
    }
}

template <int kParts>
__device__ __forceinline__ void multiply_block(const Bf16GemmArgs& args) {
  const uint32_t ring = shared_address(dynamic_shared());
  const size_t row = size_t{blockIdx.x} * kBlockRows;
  const size_t col = size_t{blockIdx.y} * (kParts * kPartColumns);
  const int stages = static_cast<int>((args.k + kStageDepth - 1) / kStageDepth);
  const auto copy = [&](int index) {
    if (index < stages) {
      const uint32_t stage = ring + index % kStages * kStageBytes<kParts>;
      const size_t k = size_t{kStageDepth} * index;
      copy_rows<kBlockRows>(stage, args.a, row, args.m, k, args.k);
      copy_rows<kParts * kPartColumns>(stage + kBlockRows * 128, args.b, col, args.n, k, args.k);
    }
    commit_copies();
  };
#pragma unroll
  for (int index = 0; index < kAhead; ++index) copy(index);
  float sums[kParts][16][4] = {};
  for (int index = 0; index < stages; ++index) {
    wait_copies<kAhead - 1>();
    publish_shared();
    __syncthreads();
    copy(index + kAhead);
    begin_products();
    multiply_stage(ring + index % kStages * kStageBytes<kParts>, sums);
    commit_products();
    wait_products<1>();
  }
  wait_products<0>();
#pragma unroll
  for (int part = 0; part < kParts; ++part) settle_sums(sums[part]);
  write_sums(args, row, col, sums);
}

#endif

template <int kParts>
__global__ void __launch_bounds__(kThreads, 1) multiply_by_groups(Bf16GemmArgs args) {
#ifdef LLMKIT_WARPGROUPS
  multiply_block<kParts>(args);
#endif
}

template <int kParts>
cudaError_t launch_multiply(const Bf16GemmArgs& args, cudaStream_t stream) {
  const dim3 grid(blocks_of(args.m, kBlockRows), blocks_of(args.n, kParts * kPartColumns));
  const size_t bytes = kStages * kStageBytes<kParts>;
  return launch(multiply_by_groups<kParts>, {grid, kThreads, bytes, stream}, args);
}

}  // namespace

bool gemm_bf16_has_groups() {
#ifdef LLMKIT_EMULATED  // the emulated chip has the instructions, but most often no memory for this
  int bytes = 0;
  cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0);
  return bytes >= kStages * kStageBytes<2>;
#else
  static const bool found = [] {
    cudaFuncAttributes code;
    return cudaFuncGetAttributes(&code, multiply_by_groups<1>) == cudaSuccess &&
           code.binaryVersion == 90 && code.ptxVersion == 90;
  }();
  return found;
#endif
}

cudaError_t gemm_bf16_by_groups(const Bf16GemmArgs& args, cudaStream_t stream) {
  const size_t wide = size_t{blocks_of(args.m, kBlockRows)} * blocks_of(args.n, 2 * kPartColumns);
  if (wide >= kEnoughBlocks) return launch_multiply<2>(args, stream);
  return launch_multiply<1>(args, stream);
}

}  // namespace llmkit::cuda
