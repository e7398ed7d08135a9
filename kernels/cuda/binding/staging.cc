#include <algorithm>
#include <cstring>

#include "base/parallel.h"
#include "cuda/binding/error.h"
#include "cuda/binding/memory.h"
#include "cuda/binding/pinned.h"

// Copies between the host and the device go through pinned memory, so that they run beside the host
// and beside kernels.

namespace llmkit::cuda {
namespace {

constexpr size_t kSegments = 4, kSegmentBytes = size_t{4} << 20;

/// All threads copy: one alone is slower than the bus.
void copy_on_host(void* to, const void* from, size_t bytes) {
  constexpr size_t kPiece = size_t{1} << 18;
  parallel_for((bytes + kPiece - 1) / kPiece, 1, [&](size_t begin, size_t end) {
    const size_t first = begin * kPiece, last = std::min(end * kPiece, bytes);
    std::memcpy(static_cast<char*>(to) + first, static_cast<const char*>(from) + first,
                last - first);
  });
}

/// A ring of pinned segments: while the device reads some, the host fills the next.
class Ring {
 public:
  void copy(void* to, const void* from, size_t bytes) {
    for (size_t done = 0; done < bytes;) {
      const size_t size = std::min(bytes - done, kSegmentBytes);
      char* const place = reserve(size);
      copy_on_host(place, static_cast<const char*>(from) + done, size);
      check(cudaMemcpyAsync(static_cast<char*>(to) + done, place, size, cudaMemcpyHostToDevice,
                            stream()),
            "copy to the GPU");
      done += size;
    }
  }

 private:
  struct Segment {
    char* data = nullptr;
    cudaEvent_t read = nullptr;  // the device has read all that was in it
  };

  /// So many bytes of a segment that the device does not read any more.
  char* reserve(size_t bytes) {
    if (segments_[current_].data == nullptr || used_ + bytes > kSegmentBytes) next_segment();
    char* const place = segments_[current_].data + used_;
    used_ = std::min(kSegmentBytes, (used_ + bytes + 63) / 64 * 64);
    return place;
  }

  void next_segment() {
    if (segments_[current_].data != nullptr) {
      check(cudaEventRecord(segments_[current_].read, stream()), "copy to the GPU");
      current_ = (current_ + 1) % kSegments;
    }
    used_ = 0;
    Segment& segment = segments_[current_];
    if (segment.data != nullptr) {
      check(cudaEventSynchronize(segment.read), "copy to the GPU");
      return;
    }
    check(cudaEventCreateWithFlags(&segment.read, cudaEventDisableTiming), "copy to the GPU");
    segment.data = static_cast<char*>(pinned_memory(kSegmentBytes));
  }

  Segment segments_[kSegments];
  size_t current_ = 0, used_ = 0;
};

}  // namespace

void copy_to_device(void* to, const void* from, size_t bytes) {
  static Ring ring;
  if (bytes == 0) return;
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(stream(), &status), "copy to the GPU");
  if (status != cudaStreamCaptureStatusNone)
    throw Error(kDeviceCode, "copy to the GPU: a captured step may not read the host's memory");
  ring.copy(to, from, bytes);
}

void copy_to_host(void* to, const void* from, size_t bytes) {
  static char* const place = static_cast<char*>(pinned_memory(kSegmentBytes));
  for (size_t done = 0; done < bytes;) {
    const size_t size = std::min(bytes - done, kSegmentBytes);
    check(cudaMemcpyAsync(place, static_cast<const char*>(from) + done, size,
                          cudaMemcpyDeviceToHost, stream()),
          "copy from the GPU");
    check(cudaStreamSynchronize(stream()), "copy from the GPU");
    copy_on_host(static_cast<char*>(to) + done, place, size);
    done += size;
  }
}

}  // namespace llmkit::cuda
