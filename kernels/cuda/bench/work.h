#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cuda/base/cuda.h"
#include "cuda/warpgroups/warpgroups.h"

namespace llmkit::cuda::bench {

/// What bounds a work: moving its bytes as a copy on the device does, or as one from pinned memory
/// of the host, its operations on the tensor cores, or nothing that is measured here.
enum class Bound { kCopy, kUpload, kMatrix, kNone };

/// Queues the work on a stream; `turn` counts the calls, so that each may take other memory.
using Call = std::function<void(size_t turn, cudaStream_t stream)>;

struct Work {
  std::string name;
  Bound bound;
  double amount;  // bytes (kCopy, kUpload), floating-point operations (kMatrix) or 1 of a call
  /// Makes its memory, which the call keeps. A dry run is small: it shows that the work runs.
  std::function<Call(bool dry)> open;
};

/// Memory of the device.
class Memory {
 public:
  explicit Memory(size_t bytes);
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() { cudaFree(data_); }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_;
};
using MemoryPointer = std::shared_ptr<Memory>;

/// Ends the program when a call of CUDA failed.
void expect(cudaError_t error, const char* what);
MemoryPointer empty_memory(size_t bytes);
/// Bytes without a pattern: zeros run faster on a GPU than data does.
MemoryPointer random_memory(size_t bytes);
/// Values about 1 in size.
MemoryPointer random_floats(size_t count);
MemoryPointer random_bf16(size_t count);
MemoryPointer copy_of(const void* host, size_t bytes);

/// Instructions that a work is timed with, and how its name ends.
struct Timed {
  Instructions instructions;
  const char* ending;
};
/// Those of inference, and where the chip has two kinds the other one: what the same bits for any
/// number of rows cost, or do not.
std::vector<Timed> timed_instructions();

// One per file of this folder.
std::vector<Work> limit_works();
std::vector<Work> linear_works();
std::vector<Work> attention_works();
std::vector<Work> token_works();
std::vector<Work> product_works();

/// The rate of the matrix product of cuBLAS, where its library is found.
std::vector<Work> blas_works();

}  // namespace llmkit::cuda::bench
