#include "base/huge_buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <utility>

namespace llmkit {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kMappingBytes = size_t{64} << 20;

constexpr size_t round_up(size_t size, size_t unit) { return (size + unit - 1) / unit * unit; }
size_t whole_pages(size_t size) {
  return round_up(size, static_cast<size_t>(sysconf(_SC_PAGESIZE)));
}

/// Buffers one after the other; a place is handed out once.
class Mapping {
 public:
  /// Of at least `size` bytes.
  explicit Mapping(size_t size) {
    const size_t most = round_up(std::max(size, kMappingBytes), kHugePage);
    const size_t wanted = most + kHugePage;
    void* const start =
        mmap(nullptr, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return;
    start_ = start;
    size_ = wanted;
    next_ = round_up(reinterpret_cast<uintptr_t>(start), kHugePage);
    end_ = next_ + most;
#ifdef MADV_HUGEPAGE
    madvise(reinterpret_cast<void*>(next_), most, MADV_HUGEPAGE);  // a hint: small pages work too
#endif
  }
  ~Mapping() {
    if (start_ != nullptr) munmap(start_, size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  /// Null where there is no place for `size` bytes, whole pages.
  uint8_t* take(size_t size) {
    if (end_ - next_ < size) return nullptr;
    next_ += size;
    return reinterpret_cast<uint8_t*>(next_ - size);
  }

 private:
  void* start_ = nullptr;
  size_t size_ = 0;
  uintptr_t next_ = 0, end_ = 0;
};

/// A place, and the mapping that it is of.
std::pair<uint8_t*, std::shared_ptr<const void>> place_of(size_t size) {
  static std::mutex mutex;
  static std::weak_ptr<Mapping> newest;
  const std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<Mapping> mapping = newest.lock();
  uint8_t* data = mapping == nullptr ? nullptr : mapping->take(size);
  if (data == nullptr) {
    mapping = std::make_shared<Mapping>(size);
    data = mapping->take(size);
    newest = mapping;
  }
  return {data, std::move(mapping)};
}

}  // namespace

HugeBuffer::HugeBuffer(size_t size) {
  if (size == 0) return;
  auto [data, mapping] = place_of(whole_pages(size));
  if (data == nullptr) return;
  data_ = data;
  size_ = size;
  mapping_ = std::move(mapping);
}

HugeBuffer::HugeBuffer(HugeBuffer&& other) noexcept { *this = std::move(other); }

HugeBuffer& HugeBuffer::operator=(HugeBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(mapping_, other.mapping_);
  return *this;
}

HugeBuffer::~HugeBuffer() {
  if (data_ != nullptr) madvise(data_, whole_pages(size_), MADV_DONTNEED);
}

}  // namespace llmkit
