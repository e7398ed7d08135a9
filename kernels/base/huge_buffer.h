#pragma once

#include <cstddef>
#include <cstdint>

namespace llmkit {

/// Memory of its own mapping, zeroed, aligned to 2 MB and in huge pages where the system allows.
class HugeBuffer {
 public:
  HugeBuffer() = default;
  /// bytes() is null when there is no memory.
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
  void* mapping_ = nullptr;
  size_t mapping_size_ = 0;
};

}  // namespace llmkit
