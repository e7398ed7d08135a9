#pragma once

#include "cuda/emulator/block.h"
#include "cuda/emulator/runtime.h"

namespace llmkit::cuda::emulator {

/// Queues a kernel on a stream; checks what a device would refuse.
cudaError_t queue_launch(const Work& work, cudaStream_t stream);

template <class... Parameters>
cudaError_t launch(void (*kernel)(Parameters...), Work work, cudaStream_t stream,
                   Parameters... parameters) {
  static_assert((sizeof(Parameters) + ... + 0) <= 4096, "a device takes 4 KB of parameters");
  work.kernel = reinterpret_cast<const void*>(kernel);
  work.threads = [=] {
    do kernel(parameters...);
    while (next_thread());
  };
  return queue_launch(work, stream);
}

}  // namespace llmkit::cuda::emulator
