#pragma once

#include <cstddef>

#include "cuda/base/cuda.h"

namespace llmkit::cuda {

/// Pinned memory of the host, any content; throws Error where there is none.
void* pinned_memory(size_t bytes);

/// Pinned memory for one copy to the host, and an event to wait for it. Both are used again: making
/// them waits for the GPU. Made and ended on the JavaScript thread.
class PinnedPlace {
 public:
  explicit PinnedPlace(size_t bytes);
  ~PinnedPlace();
  PinnedPlace(const PinnedPlace&) = delete;
  PinnedPlace& operator=(const PinnedPlace&) = delete;

  void* data() const { return data_; }
  cudaEvent_t event() const { return event_; }

 private:
  size_t size_ = 0;
  void* data_ = nullptr;
  cudaEvent_t event_ = nullptr;
};

}  // namespace llmkit::cuda
