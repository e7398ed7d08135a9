#pragma once

#include "cuda/base/cuda.h"

namespace llmkit::cuda {

/// Hands out the parts of a workspace, each at a multiple of 256 bytes. Of a null workspace it only
/// counts the bytes.
class Workspace {
 public:
  explicit Workspace(void* memory) : memory_(static_cast<char*>(memory)) {}

  template <class T>
  T* take(size_t count) {
    char* const at = memory_ == nullptr ? nullptr : memory_ + used_;
    used_ += (count * sizeof(T) + 255) / 256 * 256;
    return reinterpret_cast<T*>(at);
  }
  size_t used() const { return used_; }

 private:
  char* memory_;
  size_t used_ = 0;
};

}  // namespace llmkit::cuda
