#include "base/huge_buffer.h"

#include <sys/mman.h>

#include <utility>

namespace llmkit {

constexpr size_t kHugePage = size_t{2} << 20;

HugeBuffer::HugeBuffer(size_t size) {
  if (size == 0) return;
  const size_t wanted = size + kHugePage;
  void* const start =
      mmap(nullptr, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) return;
  mapping_ = start;
  mapping_size_ = wanted;
  const uintptr_t aligned = (reinterpret_cast<uintptr_t>(start) + kHugePage - 1) & ~(kHugePage - 1);
  data_ = reinterpret_cast<uint8_t*>(aligned);
  size_ = size;
#ifdef MADV_HUGEPAGE
  madvise(data_, size, MADV_HUGEPAGE);  // a hint: small pages work too
#endif
}

HugeBuffer::HugeBuffer(HugeBuffer&& other) noexcept { *this = std::move(other); }

HugeBuffer& HugeBuffer::operator=(HugeBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(mapping_, other.mapping_);
  std::swap(mapping_size_, other.mapping_size_);
  return *this;
}

HugeBuffer::~HugeBuffer() {
  if (mapping_ != nullptr) munmap(mapping_, mapping_size_);
}

}  // namespace llmkit
