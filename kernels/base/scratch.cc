#include "base/scratch.h"

#include <cstdlib>
#include <memory>

namespace llmkit {
namespace {

struct Free {
  void operator()(float* p) const { std::free(p); }
};
struct Buffer {
  std::unique_ptr<float, Free> data;
  size_t capacity = 0;
};
thread_local Buffer buffers[static_cast<int>(Scratch::kCount)];

}  // namespace

float* scratch(Scratch slot, size_t count) {
  Buffer& buffer = buffers[static_cast<int>(slot)];
  if (buffer.capacity < count) {
    const size_t bytes = (count * sizeof(float) + 63) / 64 * 64;
    buffer.data.reset(static_cast<float*>(std::aligned_alloc(64, bytes)));
    if (buffer.data == nullptr) std::abort();  // as operator new does without exceptions
    buffer.capacity = bytes / sizeof(float);
  }
  return buffer.data.get();
}

}  // namespace llmkit
