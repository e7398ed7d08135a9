#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace llmkit {

/// Zeroed memory in huge pages where the system allows. Buffers lie side by side in mappings of
/// many megabytes, so that their ends do not have small pages, which take longer to read; what is
/// freed is given back at once, but for pages that others share.
class HugeBuffer {
 public:
  HugeBuffer() = default;
  /// bytes() is aligned to a page, and null when there is no memory.
  explicit HugeBuffer(size_t size);
  HugeBuffer(HugeBuffer&& other) noexcept;
  HugeBuffer& operator=(HugeBuffer&& other) noexcept;
  HugeBuffer(const HugeBuffer&) = delete;
  HugeBuffer& operator=(const HugeBuffer&) = delete;
  ~HugeBuffer();

  uint8_t* bytes() const { return data_; }
  size_t size() const { return size_; }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
  std::shared_ptr<const void> mapping_;
};

}  // namespace llmkit
