#include "cuda/binding/pinned.h"

#include <map>
#include <string>
#include <vector>

#include "cuda/binding/error.h"

namespace llmkit::cuda {
namespace {

struct Idle {
  void* data;
  cudaEvent_t event;
};

/// Places that wait for the next copy, by size.
std::multimap<size_t, Idle>& idle() {
  static auto* const places = new std::multimap<size_t, Idle>();
  return *places;
}

constexpr size_t kSmallest = 4096, kMostIdle = 16;

size_t place_size(size_t bytes) {
  size_t size = kSmallest;
  while (size < bytes) size *= 2;
  return size;
}

}  // namespace

void* pinned_memory(size_t bytes) {
  void* data = nullptr;
  const cudaError_t error = cudaMallocHost(&data, bytes);
  if (error == cudaSuccess) return data;
  cudaGetLastError();
  throw Error(kMemoryCode,
              "no memory on the host for " + std::to_string(bytes) +
                  " bytes that copies to and from the GPU go through, which must not be paged out; "
                  "end what else uses the host's memory, raise the container's limit of it, or "
                  "keep less of the model there (a larger max_memory)");
}

PinnedPlace::PinnedPlace(size_t bytes) : size_(place_size(bytes)) {
  const auto found = idle().find(size_);
  if (found != idle().end()) {
    data_ = found->second.data;
    event_ = found->second.event;
    idle().erase(found);
    return;
  }
  data_ = pinned_memory(size_);
  check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming | cudaEventBlockingSync), "read");
}

PinnedPlace::~PinnedPlace() {
  if (idle().size() < kMostIdle) {
    idle().insert({size_, {data_, event_}});
    return;
  }
  cudaEventDestroy(event_);
  cudaFreeHost(data_);
}

}  // namespace llmkit::cuda
