#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "work.h"

namespace {

constexpr size_t kBufferBytes = size_t{512} << 20;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kLine = 64;
/** Far enough that the line is there when it is read: one page of 4 KB. */
constexpr size_t kAheadBytes = 4096;

typedef int64_t Vector __attribute__((vector_size(64)));

/** Memory in huge pages where the system allows them, written once so that every page exists. */
std::shared_ptr<char> Allocate() {
  void* memory = nullptr;
  if (posix_memalign(&memory, kHugePage, kBufferBytes + kAheadBytes) != 0) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  madvise(memory, kBufferBytes, MADV_HUGEPAGE);
#endif
  std::memset(memory, 1, kBufferBytes + kAheadBytes);
  return std::shared_ptr<char>(static_cast<char*>(memory), std::free);
}

/** Adds all lines of a piece, asking for each well before it is needed. */
void Read(const char* data, size_t bytes) {
  Vector sums[4] = {};
  for (size_t i = 0; i < bytes; i += 4 * kLine) {
    for (size_t line = 0; line < 4; ++line) {
      const char* place = data + i + line * kLine;
      __builtin_prefetch(place + kAheadBytes);
      sums[line] += *reinterpret_cast<const Vector*>(place);
    }
  }
  Vector sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  asm volatile("" : : "r"(&sum) : "memory");
}

}  // namespace

Work ReadWork(int threads) {
  auto buffers = std::make_shared<std::vector<std::shared_ptr<char>>>();
  for (int i = 0; i < threads; ++i) buffers->push_back(Allocate());
  return {"read", static_cast<double>(kBufferBytes),
          [buffers](int thread) { Read((*buffers)[thread].get(), kBufferBytes); }};
}
