#include "cuda/emulator/shared_memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "cuda/emulator/block.h"

// The linker gives every section of __shared__ variables (qualifiers.h) a symbol at each end. There
// is one for each value of __COUNTER__, those that do not exist are null.
#define LLMKIT_ONE(n)                                                                      \
  extern "C" __attribute__((weak, visibility("hidden"))) char __start_llmkit_shared_##n[]; \
  extern "C" __attribute__((weak, visibility("hidden"))) char __stop_llmkit_shared_##n[];
#define LLMKIT_TEN(n) \
  LLMKIT_ONE(n##0)    \
  LLMKIT_ONE(n##1)    \
  LLMKIT_ONE(n##2)    \
  LLMKIT_ONE(n##3)    \
  LLMKIT_ONE(n##4)    \
  LLMKIT_ONE(n##5) LLMKIT_ONE(n##6) LLMKIT_ONE(n##7) LLMKIT_ONE(n##8) LLMKIT_ONE(n##9)
#define LLMKIT_HUNDRED \
  LLMKIT_TEN()         \
  LLMKIT_TEN(1)        \
  LLMKIT_TEN(2)        \
  LLMKIT_TEN(3) LLMKIT_TEN(4) LLMKIT_TEN(5) LLMKIT_TEN(6) LLMKIT_TEN(7) LLMKIT_TEN(8) LLMKIT_TEN(9)
LLMKIT_HUNDRED
#undef LLMKIT_ONE
#define LLMKIT_ONE(n) {__start_llmkit_shared_##n, __stop_llmkit_shared_##n},

namespace llmkit::cuda::emulator {

namespace {

/// The address of the dynamic memory's first byte, and of the first static variable's.
constexpr uint32_t kDynamic = 1024, kStatic = 1u << 28;
constexpr size_t kCanary = 64;
constexpr unsigned char kPoison = 0xff;

void fill(char* begin, char* end) { std::memset(begin, kPoison, static_cast<size_t>(end - begin)); }

bool is_poison(const Range& range) {
  return std::all_of(range.begin, range.end,
                     [](char c) { return static_cast<unsigned char>(c) == kPoison; });
}

}  // namespace

SharedMemory::SharedMemory() {
  const Range sections[] = {LLMKIT_HUNDRED};
  for (const Range& section : sections)
    if (section.begin != nullptr) statics_.push_back(section);
  for (const Range& range : statics_)
    if (statics_begin_ == nullptr || range.begin < statics_begin_) statics_begin_ = range.begin;
}

SharedMemory& shared_memory() {
  static SharedMemory memory;
  return memory;
}

void SharedMemory::begin_launch(const void* kernel, size_t dynamic_bytes) {
  if (dynamic_bytes + kCanary > capacity_) {
    std::free(dynamic_);
    capacity_ = (dynamic_bytes + kCanary + 1023) / 1024 * 1024;
    dynamic_ = static_cast<char*>(std::aligned_alloc(1024, capacity_));
  }
  dynamic_bytes_ = dynamic_bytes;
  learning_ = used_.find(kernel) == used_.end();
  used_here_ = &used_[kernel];
}

void SharedMemory::begin_block() {
  writers_.assign(dynamic_bytes_ / 16 + 1, 0);
  unpublished_.clear();
  if (dynamic_bytes_ > 0) std::memset(dynamic_, kPoison, dynamic_bytes_ + kCanary);
  for (const Range& range : learning_ ? statics_ : *used_here_) fill(range.begin, range.end);
}

/// Only what a kernel's first block wrote is poisoned for the others: all variables of all kernels
/// are too many.
void SharedMemory::end_block() {
  if (dynamic_bytes_ > 0)
    for (size_t i = 0; i < kCanary; ++i)
      if (static_cast<unsigned char>(dynamic_[dynamic_bytes_ + i]) != kPoison)
        fail("something was written beyond the %zu bytes of dynamic shared memory", dynamic_bytes_);
  if (!learning_) return;
  for (const Range& range : statics_)
    if (!is_poison(range)) used_here_->push_back(range);
  learning_ = false;
}

const Range* SharedMemory::range_of(const char* p) const {
  for (const Range& range : statics_)
    if (p >= range.begin && p < range.end) return &range;
  return nullptr;
}

uint32_t SharedMemory::address_of(const void* pointer) const {
  const char* const p = static_cast<const char*>(pointer);
  // One past the end is an address too.
  if (p >= dynamic_ && p <= dynamic_ + dynamic_bytes_)
    return kDynamic + static_cast<uint32_t>(p - dynamic_);
  if (range_of(p) == nullptr) fail("the address of something that is not in shared memory");
  return kStatic + static_cast<uint32_t>(p - statics_begin_);
}

char* SharedMemory::at(uint32_t address, size_t bytes) const {
  if (address % bytes != 0) fail("shared memory: %u is not aligned to %zu bytes", address, bytes);
  if (address >= kStatic) {
    char* const p = statics_begin_ + (address - kStatic);
    const Range* const range = range_of(p);
    if (range == nullptr || p + bytes > range->end) fail("shared memory: outside of a variable");
    return p;
  }
  if (address < kDynamic || address - kDynamic + bytes > dynamic_bytes_)
    fail("shared memory: bytes %d to %d of %zu", static_cast<int>(address - kDynamic),
         static_cast<int>(address - kDynamic + bytes), dynamic_bytes_);
  return dynamic_ + (address - kDynamic);
}

char* SharedMemory::range(uint32_t address, size_t bytes) const {
  at(address + static_cast<uint32_t>(bytes) - 16, 16);
  return at(address, 16);
}

void SharedMemory::note_written(const char* p, unsigned thread) {
  if (p < dynamic_ || p >= dynamic_ + dynamic_bytes_) return;
  const size_t piece = static_cast<size_t>(p - dynamic_) / 16;
  writers_[piece] = static_cast<uint16_t>(1 + thread);
  if (unpublished_.size() <= thread) unpublished_.resize(thread + 1);
  unpublished_[thread].push_back(piece);
}

void SharedMemory::publish(unsigned thread) {
  if (unpublished_.size() <= thread) return;
  for (const size_t piece : unpublished_[thread])
    if (writers_[piece] == 1 + thread) writers_[piece] = 0;
  unpublished_[thread].clear();
}

void SharedMemory::publish(const char* p, size_t bytes) {
  const size_t first = static_cast<size_t>(p - dynamic_) / 16;
  std::fill_n(writers_.begin() + static_cast<ptrdiff_t>(first), bytes / 16, uint16_t{0});
}

void SharedMemory::check_published(uint32_t address) const {
  const char* const p = at(address, 16);
  if (p < dynamic_ || p >= dynamic_ + dynamic_bytes_) return;
  const unsigned writer = writers_[static_cast<size_t>(p - dynamic_) / 16];
  if (writer != 0) fail("a product reads what thread %u wrote and did not publish", writer - 1);
}

}  // namespace llmkit::cuda::emulator
