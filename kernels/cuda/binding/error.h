#pragma once

#include <stdexcept>
#include <string>

#include "cuda/base/cuda.h"

namespace llmkit::cuda {

/// What the GPU or its driver refuses. JavaScript gets an Error with the code as its `code`.
class Error : public std::runtime_error {
 public:
  /// `code`: LLMKIT_CUDA_MEMORY, LLMKIT_CUDA_UNUSABLE (there is no GPU that can be used) or
  /// LLMKIT_CUDA (anything that goes wrong on one).
  Error(const char* code, const std::string& message) : std::runtime_error(message), code_(code) {}
  const char* code() const { return code_; }

 private:
  const char* code_;
};

constexpr const char* kMemoryCode = "LLMKIT_CUDA_MEMORY";
constexpr const char* kUnusableCode = "LLMKIT_CUDA_UNUSABLE";
constexpr const char* kDeviceCode = "LLMKIT_CUDA";

/// Throws Error, which names the op, unless all went well. Launches report what an earlier one did
/// wrong, too; with LLMKIT_CUDA_SYNC=1 each op is awaited here, so that the op named is the one.
void check(cudaError_t error, const char* op);

}  // namespace llmkit::cuda
