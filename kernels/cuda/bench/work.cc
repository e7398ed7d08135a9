#include "cuda/bench/work.h"

#include <cstdio>
#include <cstdlib>
#include <random>

#include "base/bf16.h"

namespace llmkit::cuda::bench {

void expect(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

Memory::Memory(size_t bytes) : bytes_(bytes) { expect(cudaMalloc(&data_, bytes), "cudaMalloc"); }

MemoryPointer empty_memory(size_t bytes) { return std::make_shared<Memory>(bytes); }

MemoryPointer copy_of(const void* host, size_t bytes) {
  MemoryPointer memory = empty_memory(bytes);
  expect(cudaMemcpy(memory->as<void>(), host, bytes, cudaMemcpyHostToDevice), "cudaMemcpy");
  return memory;
}

MemoryPointer random_memory(size_t bytes) {
  std::mt19937_64 engine(1);
  std::vector<uint64_t> words(bytes / sizeof(uint64_t) + 1);
  for (uint64_t& word : words) word = engine();
  return copy_of(words.data(), bytes);
}

namespace {

std::vector<float> normal_values(size_t count) {
  std::mt19937 engine(2);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(engine);
  return values;
}

}  // namespace

MemoryPointer random_floats(size_t count) {
  const std::vector<float> values = normal_values(count);
  return copy_of(values.data(), count * sizeof(float));
}

MemoryPointer random_bf16(size_t count) {
  std::vector<uint16_t> halves;
  halves.reserve(count);
  for (const float value : normal_values(count)) halves.push_back(to_bf16(value));
  return copy_of(halves.data(), count * sizeof(uint16_t));
}

std::vector<Timed> timed_instructions() {
  std::vector<Timed> timed = {{invariant_instructions(), ""}};
  if (warpgroups() == Warpgroups::kSameBits)
    timed.push_back({Instructions::kWarps, ", by mma.sync"});
  if (warpgroups() == Warpgroups::kOtherBits)
    timed.push_back({Instructions::kWarpgroups, ", by wgmma"});
  return timed;
}

}  // namespace llmkit::cuda::bench
