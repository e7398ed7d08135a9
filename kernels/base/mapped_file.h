#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace llmkit {

/// A whole file in memory, private and writable: writes are never seen by others. Unmapped at the
/// end of its life. An empty file has no data.
class MappedFile {
 public:
  /// Null, and a message, when the file cannot be mapped.
  static std::unique_ptr<MappedFile> open(const std::string& path, std::string& error);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  void* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  MappedFile(void* data, size_t size) : data_(data), size_(size) {}
  void* data_;
  size_t size_;
};

/// Lets go of the whole pages among `size` bytes of a MappedFile that nobody has written to: they
/// are read from the file again when they are wanted. Memory of any other kind is left alone.
void release_file_pages(const void* data, size_t size);

}  // namespace llmkit
