#include "cuda/base/instructions.h"
#include "cuda/base/launch.h"
#include "cuda/bench/work.h"

// What a GPU can do at most, as far as its own instructions show.

namespace llmkit::cuda::bench {
namespace {

constexpr int kThreads = 256, kChains = 8;

/// Products of 16x16 and 16x8 values in registers, in independent chains.
__global__ void __launch_bounds__(kThreads) multiply_kernel(int rounds, float* out) {
  float sums[kChains][4] = {};
  const uint32_t one = pack_bf16(1, -1);
  const uint32_t a[4] = {one + threadIdx.x, one, one, one};
  for (int round = 0; round < rounds; ++round)
#pragma unroll
    for (int chain = 0; chain < kChains; ++chain) multiply_add(sums[chain], a, one, one);
  float total = 0;
  for (const auto& sum : sums) total += sum[0] + sum[1] + sum[2] + sum[3];
  if (total == 0.25f) out[threadIdx.x] = total;  // never, but the compiler does not know
}

Call open_multiply(bool dry, int blocks, int rounds) {
  const MemoryPointer out = empty_memory(kThreads * sizeof(float));
  return [=](size_t, cudaStream_t stream) {
    const Launch how = {dim3(dry ? 1 : blocks), dim3(kThreads), 0, stream};
    expect(launch(multiply_kernel, how, dry ? 1 : rounds, out->as<float>()), "multiply");
  };
}

Call open_copy(size_t bytes) {
  const MemoryPointer from = random_memory(bytes), to = empty_memory(bytes);
  return [=](size_t, cudaStream_t stream) {
    expect(
        cudaMemcpyAsync(to->as<void>(), from->as<void>(), bytes, cudaMemcpyDeviceToDevice, stream),
        "copy");
  };
}

/// From pinned memory of the host.
Call open_upload(size_t bytes) {
  void* data = nullptr;
  expect(cudaMallocHost(&data, bytes), "cudaMallocHost");
  const std::shared_ptr<void> from(data, [](void* pinned) { cudaFreeHost(pinned); });
  const MemoryPointer to = empty_memory(bytes);
  return [=](size_t, cudaStream_t stream) {
    expect(cudaMemcpyAsync(to->as<void>(), from.get(), bytes, cudaMemcpyHostToDevice, stream),
           "upload");
  };
}

}  // namespace

std::vector<Work> limit_works() {
  constexpr size_t kBytes = size_t{1} << 30, kUpload = size_t{256} << 20;
  constexpr int kBlocks = 4096, kRounds = 2048;
  const double operations =
      2.0 * 16 * 16 * 8 * kChains * kRounds * kBlocks * (kThreads / static_cast<double>(kWarp));
  return {
      {"copy on the device", Bound::kCopy, 2.0 * kBytes,
       [](bool dry) { return open_copy(dry ? 4096 : kBytes); }},
      {"copy from pinned memory", Bound::kUpload, kUpload,
       [](bool dry) { return open_upload(dry ? 4096 : kUpload); }},
      {"mma.sync in registers", Bound::kMatrix, operations,
       [](bool dry) { return open_multiply(dry, kBlocks, kRounds); }},
  };
}

}  // namespace llmkit::cuda::bench
