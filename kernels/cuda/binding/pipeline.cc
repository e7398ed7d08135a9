#include "cuda/binding/pipeline.h"

namespace llmkit::cuda {

Stream::Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "a stream"); }

Stream::~Stream() { cudaStreamDestroy(stream_); }

Slot::Slot(size_t in_bytes, size_t out_bytes, const char* op)
    : host_in(in_bytes),
      host_out(out_bytes),
      in(device_memory(in_bytes, op)),
      out(device_memory(out_bytes, op)) {}

Pipeline::Pipeline(size_t in_bytes, size_t out_bytes, const char* op)
    : op_(op), slots_{{in_bytes, out_bytes, op}, {in_bytes, out_bytes, op}} {
  // The blocks may still be in use by what was queued for their last owner.
  cudaEvent_t freed = slots_[0].host_in.event();
  check(cudaEventRecord(freed, cuda::stream()), op);
  for (const Slot& slot : slots_) check(cudaStreamWaitEvent(slot.stream.get(), freed, 0), op);
}

Pipeline::~Pipeline() {
  // Where a chunk failed, the other may still be under way in memory that goes now.
  for (const Slot& slot : slots_) cudaStreamSynchronize(slot.stream.get());
}

}  // namespace llmkit::cuda
