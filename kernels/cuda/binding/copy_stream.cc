#include "cuda/binding/copy_stream.h"

#include "cuda/binding/error.h"

namespace llmkit::cuda {

cudaStream_t copy_stream() {
  static const cudaStream_t made = [] {
    cudaStream_t result = nullptr;
    check(cudaStreamCreateWithFlags(&result, cudaStreamNonBlocking), "copies to and from the GPU");
    return result;
  }();
  return made;
}

cudaEvent_t new_event(const char* op) {
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), op);
  return event;
}

}  // namespace llmkit::cuda
