#include "base/write_direct.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace llmkit {
namespace {

/// What every file system is content with.
constexpr size_t kBlock = 4096;
/// Of one call: larger ones are no faster, and these stay in a second-level cache.
constexpr size_t kPieceBytes = size_t{1} << 20;

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

/// A thread's piece, aligned as its place in the file.
uint8_t* piece() {
  thread_local std::unique_ptr<void, Free> memory(std::aligned_alloc(kBlock, kPieceBytes));
  return static_cast<uint8_t*>(memory.get());
}

std::string write_all(int descriptor, uint64_t offset, size_t size, const uint8_t* bytes) {
  for (size_t done = 0; done < size;) {
    const ssize_t count =
        pwrite(descriptor, bytes + done, size - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return std::strerror(errno);
    done += static_cast<size_t>(count);
  }
  return "";
}

}  // namespace

std::string write_direct(const DirectTarget& file, uint64_t offset, size_t size,
                         const FillPiece& fill) {
  uint8_t* const bytes = piece();
  if (bytes == nullptr) return std::strerror(ENOMEM);
  for (size_t done = 0; done < size;) {
    const uint64_t place = offset + done;
    const size_t before = (kBlock - place % kBlock) % kBlock;
    size_t count = std::min(size - done, before > 0 ? before : kPieceBytes);
    if (count > kBlock) count -= count % kBlock;
    std::string problem = fill(done, count, bytes);
    if (!problem.empty()) return problem;
    ssize_t written = 0;
    if (count % kBlock == 0)
      written = std::max<ssize_t>(0, pwrite(file.direct, bytes, count, static_cast<off_t>(place)));
    const size_t direct = static_cast<size_t>(written);
    problem = write_all(file.descriptor, place + direct, count - direct, bytes + direct);
    if (!problem.empty()) return problem;
    done += count;
  }
  return "";
}

}  // namespace llmkit
