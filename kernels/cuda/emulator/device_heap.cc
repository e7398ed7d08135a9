#include "cuda/emulator/device_heap.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cuda/emulator/block.h"
#include "cuda/emulator/device.h"

namespace llmkit::cuda::emulator {

namespace {

constexpr int kPoison = 0xff;
constexpr size_t kUnit = 256;
/// More than this is left as the system gives it, zeros, and given back when it is released.
constexpr size_t kPoisoned = size_t{64} << 20;

/// Every thread begins without access.
thread_local int depth = 0;

#if defined(__linux__) && defined(__x86_64__) && defined(__GLIBC__) && \
    !defined(__SANITIZE_ADDRESS__)

int key = -1;
struct sigaction previous;

/// Says what happened; then the access is tried again and ends the process.
void explain(int, siginfo_t* info, void*) {
  const char text[] = "emulator: the host touched memory of the device\n";
  if (info->si_code == SEGV_PKUERR && write(STDERR_FILENO, text, sizeof(text) - 1) < 0) _exit(1);
  sigaction(SIGSEGV, &previous, nullptr);
}

void protect(void* begin, size_t size) {
  key = pkey_alloc(0, PKEY_DISABLE_ACCESS);
  if (key < 0) return;
  if (pkey_mprotect(begin, size, PROT_READ | PROT_WRITE, key) != 0) {
    key = -1;
    return;
  }
  struct sigaction action = {};
  action.sa_sigaction = explain;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, &previous);
}

void allow(bool access) {
  if (key >= 0) pkey_set(key, access ? 0 : PKEY_DISABLE_ACCESS);
}

#else

[[maybe_unused]] void protect(void*, size_t) {}  // under the address sanitizer
void allow(bool) {}

#endif

[[maybe_unused]] size_t with_gap(size_t bytes) {
  return (bytes + kUnit - 1) / kUnit * kUnit + kUnit;
}

}  // namespace

DeviceAccess::DeviceAccess() {
  if (depth++ == 0) allow(true);
}

DeviceAccess::~DeviceAccess() {
  if (--depth == 0) allow(false);
}

DeviceHeap& device_heap() {
  static DeviceHeap& heap = *new DeviceHeap;
  return heap;
}

#if defined(__SANITIZE_ADDRESS__)

DeviceHeap::DeviceHeap() : size_(0) {}

void* DeviceHeap::allocate(size_t bytes) {
  void* p = nullptr;
  if (posix_memalign(&p, kUnit, bytes) != 0) return nullptr;
  if (bytes <= kPoisoned) std::memset(p, kPoison, bytes);
  return p;
}

void DeviceHeap::release(void* p, size_t) { std::free(p); }

#else

DeviceHeap::DeviceHeap() : size_(device_memory() + device_memory() / 4) {
  void* const memory = mmap(nullptr, size_, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return;
  begin_ = static_cast<char*>(memory);
  protect(begin_, size_);
  free_[begin_] = size_;
}

void* DeviceHeap::allocate(size_t bytes) {
  const size_t size = with_gap(bytes);
  const auto found = std::find_if(free_.begin(), free_.end(),
                                  [=](const auto& range) { return range.second >= size; });
  if (found == free_.end()) return nullptr;
  const auto [begin, room] = *found;
  free_.erase(found);
  if (room > size) free_[begin + size] = room - size;
  const DeviceAccess access;
  if (bytes <= kPoisoned)
    std::memset(begin, kPoison, size);
  else
    std::memset(begin + bytes, kPoison, size - bytes);
  return begin;
}

void DeviceHeap::release(void* p, size_t bytes) {
  char* const begin = static_cast<char*>(p);
  const size_t size = with_gap(bytes);
  const DeviceAccess access;
  if (std::any_of(begin + bytes, begin + size,
                  [](char c) { return static_cast<unsigned char>(c) != kPoison; }))
    fail("something was written behind the %zu bytes of a block of device memory", bytes);
  if (bytes <= kPoisoned)
    std::memset(begin, kPoison, bytes);
  else
    madvise(begin + 4096 - reinterpret_cast<size_t>(begin) % 4096, bytes - 4096, MADV_DONTNEED);
  auto range = free_.emplace(begin, size).first;
  const auto after = std::next(range);
  if (after != free_.end() && begin + size == after->first) {
    range->second += after->second;
    free_.erase(after);
  }
  if (range == free_.begin()) return;
  const auto before = std::prev(range);
  if (before->first + before->second != begin) return;
  before->second += range->second;
  free_.erase(range);
}

#endif

}  // namespace llmkit::cuda::emulator
