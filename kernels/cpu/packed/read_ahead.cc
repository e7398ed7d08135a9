#include "cpu/packed/read_ahead.h"

#include <algorithm>

#include "base/parallel.h"

namespace llmkit {

void ReadAhead::begin(const uint8_t* data, size_t size) {
  if (!waited_) return;
  waited_ = false;
  const uintptr_t address = reinterpret_cast<uintptr_t>(data);
  step_after(current_) = {current_, address, std::min(size, kMostBytes)};
  current_ = address;
  const Step& step = step_after(current_);
  next_ = step.next;
  end_ = next_ + (step.from == current_ ? step.size : 0);
}

bool ReadAhead::fetch() {
  waited_ = true;
  if (next_ >= end_) return false;
  const uintptr_t end = std::min(next_ + kStepBytes, end_);
  for (; next_ < end; next_ += 64) __builtin_prefetch(reinterpret_cast<const void*>(next_), 0, 2);
  return true;
}

ReadAhead::Step& ReadAhead::step_after(uintptr_t from) {
  // Multiplicative hashing: the upper bits depend on all bits of the address.
  const uint64_t hash = static_cast<uint64_t>(from) * 0x9E3779B97F4A7C15u;
  return steps_[hash >> (64 - kStepBits)];
}

void begin_reading(const uint8_t* data, size_t size) {
  thread_local ReadAhead ahead;
  ahead.begin(data, size);
  while_waiting([] { ahead.fetch(); });
}

}  // namespace llmkit
