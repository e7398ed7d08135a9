#pragma once

#include <algorithm>

#include "cuda/base/cuda.h"
#include "cuda/binding/error.h"
#include "cuda/binding/memory.h"
#include "cuda/binding/pinned.h"

namespace llmkit::cuda {

/// A stream of its own.
class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

/// Memory for one chunk on its way through the GPU.
struct Slot {
  Slot(size_t in_bytes, size_t out_bytes, const char* op);
  PinnedPlace host_in, host_out;
  Block in, out;
  Stream stream;
};

/// Sends chunks of host memory through the GPU: while it works on one, the host reads the one
/// before and fills the next. Made and ended on the JavaScript thread.
class Pipeline {
 public:
  /// The most bytes of a chunk that go in and that come out.
  Pipeline(size_t in_bytes, size_t out_bytes, const char* op);
  ~Pipeline();

  /// For each chunk, on whichever thread this is called:
  ///   work.fill(chunk, host)              writes what goes in, and returns the bytes
  ///   work.launch(chunk, in, out, stream) queues the work on it, and returns the bytes that come
  ///   out work.take(chunk, host)              reads what came out
  template <class Work>
  void run(size_t chunks, Work& work) {
    for (size_t chunk = 0; chunk < chunks + kSlots; ++chunk) {
      Slot& slot = slots_[chunk % kSlots];
      if (chunk >= kSlots) {
        check(cudaEventSynchronize(slot.host_out.event()), op_);
        work.take(chunk - kSlots, static_cast<const char*>(slot.host_out.data()));
      }
      if (chunk < chunks) send(slot, chunk, work);
    }
  }

 private:
  static constexpr size_t kSlots = 2;

  template <class Work>
  void send(Slot& slot, size_t chunk, Work& work) {
    const cudaStream_t stream = slot.stream.get();
    auto* const host = static_cast<char*>(slot.host_in.data());
    const size_t in_bytes = work.fill(chunk, host);
    check(cudaMemcpyAsync(slot.in.data(), host, in_bytes, cudaMemcpyHostToDevice, stream), op_);
    const size_t out_bytes = work.launch(chunk, slot.in.as<char>(), slot.out.as<char>(), stream);
    check(cudaMemcpyAsync(slot.host_out.data(), slot.out.data(), out_bytes, cudaMemcpyDeviceToHost,
                          stream),
          op_);
    check(cudaEventRecord(slot.host_out.event(), stream), op_);
  }

  const char* const op_;
  Slot slots_[kSlots];
};

}  // namespace llmkit::cuda
