#include <atomic>
#include <cstring>
#include <vector>

#include "cuda/base/instructions.h"
#include "cuda/base/launch.h"
#include "cuda/packed_linear/products.h"

// Whether products of warpgroups give the bits of mma.sync is not documented. Forward products,
// whose rows must not depend on how many there are, use them only where a probe found no
// difference.

namespace llmkit::cuda {
namespace {

constexpr size_t kRows = 128, kColumns = 1024, kM = 128;
constexpr size_t kCodes = kRows * kColumns, kX = kM * kColumns, kY = kM * kRows;
constexpr unsigned kThreads = 256;

enum class Found { kNothing, kSame, kOther };
std::atomic<Found> found{Found::kNothing};

/// Pseudo-random bf16 values of both signs, of 2^-16 to 2^15 in size.
__global__ void fill_values(uint16_t* values, size_t count) {
  const size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  uint32_t h = static_cast<uint32_t>(i) * 0x9e3779b9u;
  h = (h ^ h >> 16) * 0x7feb352du;
  h = (h ^ h >> 15) * 0x846ca68bu;
  h ^= h >> 16;
  const uint32_t exponent = 111 + (h >> 8 & 31);
  values[i] = static_cast<uint16_t>((h & 1) << 15 | exponent << 7 | (h >> 16 & 127));
}

/// The probe's arrays: values, and the two results.
struct Memory {
  explicit Memory(void* at)
      : values(static_cast<uint16_t*>(at)),
        y(reinterpret_cast<float*>(values + kCodes + kX)),
        by_groups(y + kY) {}
  uint16_t* values;
  float *y, *by_groups;
};

/// A product of a bf16 weight.
ForwardArgs product_of(const Memory& memory, float* y) {
  PackedWeight weight;
  weight.rows = kRows;
  weight.cols = kColumns;
  weight.codes = memory.values;
  ForwardArgs args = {};
  args.layers[0].weight = weight_args(weight);
  args.layers[0].y = y;
  args.count = 1;
  args.m = kM;
  args.x = reinterpret_cast<const bf16*>(memory.values + kCodes);
  return args;
}

cudaError_t multiply_twice(const Memory& memory, cudaStream_t stream) {
  constexpr PackedCode kCode = PackedCode::kBf16;
  cudaError_t error = launch(fill_values, {blocks_of(kCodes + kX, kThreads), kThreads, 0, stream},
                             memory.values, kCodes + kX);
  if (error == cudaSuccess)
    error = multiply_many(product_of(memory, memory.y), {1, nullptr, nullptr}, kCode, stream);
  if (error != cudaSuccess) return error;
  return multiply_many_by_groups(product_of(memory, memory.by_groups), kCode, stream);
}

}  // namespace

bool products_agree() { return found == Found::kSame; }

size_t compare_products_workspace() {
  const bool is_open = products_of_groups() && found == Found::kNothing;
  return is_open ? (kCodes + kX) * sizeof(uint16_t) + 2 * kY * sizeof(float) : 0;
}

cudaError_t compare_products(void* workspace, cudaStream_t stream) {
  if (compare_products_workspace() == 0) return cudaSuccess;
  const Memory memory(workspace);
  std::vector<float> results(2 * kY);
  cudaError_t error = multiply_twice(memory, stream);
  if (error == cudaSuccess)
    error = cudaMemcpyAsync(results.data(), memory.y, 2 * kY * sizeof(float),
                            cudaMemcpyDeviceToHost, stream);
  if (error == cudaSuccess) error = cudaStreamSynchronize(stream);
  if (error != cudaSuccess) return error;
  const bool same = std::memcmp(results.data(), results.data() + kY, kY * sizeof(float)) == 0;
  found = same ? Found::kSame : Found::kOther;
  return cudaSuccess;
}

}  // namespace llmkit::cuda
