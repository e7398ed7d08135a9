#include "cuda/base/launch.h"
#include "cuda/base/warpgroup.h"
#include "cuda/warpgroups/compare.h"
#include "cuda/warpgroups/warpgroups.h"

namespace llmkit::cuda {
namespace {

constexpr int kThreads = 128, kPiece = 64;
constexpr int kLeftBytes = kCompareRows * kPiece * 2, kRightBytes = kCompareColumns * kPiece * 2;

/// The operands of this block's case.
struct Operands {
  const uint16_t *a, *b;  // [64, kCompareDepth], [256, kCompareDepth]

  __device__ explicit Operands(const uint16_t* values)
      : a(values + size_t{blockIdx.x} * kCaseValues), b(a + kLeftValues) {}
  /// Elements (row, k) and (row, k + 1).
  static __device__ uint32_t pair(const uint16_t* x, int row, int k) {
    return *reinterpret_cast<const uint32_t*>(x + row * kCompareDepth + k);
  }
  /// a of 16 k from k on, as this thread holds it.
  __device__ void left(int k, uint32_t (&to)[4]) const {
    const int lane = threadIdx.x % kWarp, row = threadIdx.x / kWarp * 16 + lane / 4;
#pragma unroll
    for (int i = 0; i < 4; ++i) to[i] = pair(a, row + i % 2 * 8, k + lane % 4 * 2 + i / 2 * 8);
  }
};

/// Where this thread's sums of columns [8 j, 8 j + 8) go.
template <int kBlocks>
__device__ void write_sums(float* sums, int first, const float (&c)[kBlocks][4]) {
  const int lane = threadIdx.x % kWarp, row = threadIdx.x / kWarp * 16 + lane / 4;
  sums += size_t{blockIdx.x} * kCaseSums;
#pragma unroll
  for (int j = 0; j < kBlocks; ++j)
#pragma unroll
    for (int i = 0; i < 4; ++i)
      sums[(row + i / 2 * 8) * kCompareColumns + first + 8 * j + lane % 4 * 2 + i % 2] = c[j][i];
}

__global__ void __launch_bounds__(kThreads) by_warps(const uint16_t* values, float* sums) {
  const Operands operands(values);
  const int lane = threadIdx.x % kWarp;
  for (int column = 0; column < kCompareColumns; column += 8) {
    float c[1][4] = {};
    for (int k = 0; k < kCompareDepth; k += 16) {
      uint32_t a[4];
      operands.left(k, a);
      const int row = column + lane / 4, at = k + lane % 4 * 2;
      multiply_add(c[0], a, Operands::pair(operands.b, row, at),
                   Operands::pair(operands.b, row, at + 8));
    }
    write_sums(sums, column, c);
  }
}

#ifdef LLMKIT_WARPGROUPS

constexpr int kSteps = kPiece / 16;
template <GroupForm kForm>
constexpr bool kLeftInRegisters = kForm == GroupForm::kRegisters || kForm == GroupForm::kAcross;
template <GroupForm kForm>
constexpr int kColumnsOf = kForm == GroupForm::k256   ? 256
                           : kForm == GroupForm::k128 ? 128
                                                      : 64;

/// Rows [first, first + rows) of x, 64 k from k on, as products read them along k.
__device__ void copy_along(char* to, const uint16_t* x, int first, int rows, int k) {
  for (int i = threadIdx.x; i < rows * 8; i += kThreads)
    *reinterpret_cast<uint4*>(to + swizzled_piece(i / 8, i % 8)) =
        *reinterpret_cast<const uint4*>(x + (first + i / 8) * kCompareDepth + k + i % 8 * 8);
}

/// Columns [first, first + 64) of b, as products read them across k: rows of 64 columns.
__device__ void copy_across(char* to, const uint16_t* b, int first, int k) {
  for (int i = threadIdx.x; i < kPiece * kPiece; i += kThreads) {
    const int row = i / kPiece, column = i % kPiece;
    *reinterpret_cast<uint16_t*>(to + swizzled_piece(row, column / 8) + column % 8 * 2) =
        b[(first + column) * kCompareDepth + k + row];
  }
}

/// c = (keep ? c : 0) + the products of 64 k from k on.
template <GroupForm kForm>
__device__ void multiply_piece(const Operands& operands, uint32_t left, uint32_t right, int k,
                               float (&c)[kColumnsOf<kForm> / 8][4]) {
  if constexpr (kLeftInRegisters<kForm>) {
    uint32_t a[kSteps][4];
    for (int step = 0; step < kSteps; ++step) operands.left(k + 16 * step, a[step]);
    begin_products(a);
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const bool keep = k > 0 || step > 0;
      if constexpr (kForm == GroupForm::kAcross)
        multiply_add_across(c, a[step], shared_operand(right + step * 16 * 128), keep);
      else
        multiply_add_group(c, a[step], shared_operand(right + step * 32), keep);
    }
  } else {
    begin_products();
#pragma unroll
    for (int step = 0; step < kSteps; ++step)
      multiply_add_group(c, shared_operand(left + step * 32), shared_operand(right + step * 32),
                         k > 0 || step > 0);
  }
  commit_products();
  wait_products<0>();
  settle_sums(c);
}

template <GroupForm kForm>
__device__ void multiply_case(const uint16_t* values, float* sums) {
  constexpr int kColumns = kColumnsOf<kForm>;
  char* const shared = dynamic_shared();
  const uint32_t left = shared_address(shared), right = left + kLeftBytes;
  const Operands operands(values);
  for (int column = 0; column < kCompareColumns; column += kColumns) {
    float c[kColumns / 8][4];
    for (int k = 0; k < kCompareDepth; k += kPiece) {
      __syncthreads();
      copy_along(shared, operands.a, 0, kCompareRows, k);
      if (kForm == GroupForm::kAcross)
        copy_across(shared + kLeftBytes, operands.b, column, k);
      else
        copy_along(shared + kLeftBytes, operands.b, column, kColumns, k);
      publish_shared();
      __syncthreads();
      multiply_piece<kForm>(operands, left, right, k, c);
    }
    write_sums(sums, column, c);
  }
}

#endif

template <GroupForm kForm>
__global__ void __launch_bounds__(kThreads) by_groups(const uint16_t* values, float* sums) {
#ifdef LLMKIT_WARPGROUPS
  multiply_case<kForm>(values, sums);
#endif
}

template <GroupForm kForm>
cudaError_t launch_form(const uint16_t* values, float* sums, cudaStream_t stream) {
  const Launch how = {kCompareCases, kThreads, kLeftBytes + kRightBytes, stream};
  return launch(by_groups<kForm>, how, values, sums);
}

}  // namespace

cudaError_t multiply_by_warps(const uint16_t* values, float* sums, cudaStream_t stream) {
  return launch(by_warps, {kCompareCases, kThreads, 0, stream}, values, sums);
}

cudaError_t multiply_by_form(GroupForm form, const uint16_t* values, float* sums,
                             cudaStream_t stream) {
  switch (form) {
    case GroupForm::kRegisters:
      return launch_form<GroupForm::kRegisters>(values, sums, stream);
    case GroupForm::kAcross:
      return launch_form<GroupForm::kAcross>(values, sums, stream);
    case GroupForm::k64:
      return launch_form<GroupForm::k64>(values, sums, stream);
    case GroupForm::k128:
      return launch_form<GroupForm::k128>(values, sums, stream);
    case GroupForm::k256:
      return launch_form<GroupForm::k256>(values, sums, stream);
  }
  return cudaErrorInvalidValue;
}

bool has_warpgroups() {
#ifdef LLMKIT_EMULATED
  constexpr int kBytesOf90 = 227 * 1024;
  int bytes = 0;
  return cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0) ==
             cudaSuccess &&
         bytes >= kBytesOf90;
#else
  static const bool found = [] {
    cudaFuncAttributes code;
    return cudaFuncGetAttributes(&code, by_groups<GroupForm::k64>) == cudaSuccess &&
           code.binaryVersion == 90 && code.ptxVersion == 90;
  }();
  return found;
#endif
}

}  // namespace llmkit::cuda
