#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace llmkit {

/// Bytes of a file, which may end before them: the whole file unless said otherwise.
struct FileRange {
  size_t offset = 0;
  size_t size = SIZE_MAX;
};

/// A file or a range of it in memory, private and writable: writes are never seen by others.
/// Unmapped at the end of its life. An empty range has no data.
class MappedFile {
 public:
  /// What the file has of the range. Null, and a message, when it cannot be mapped.
  static std::unique_ptr<MappedFile> open(const std::string& path, const FileRange& range,
                                          std::string& error);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  void* data() const { return static_cast<char*>(pages_) + before_; }
  size_t size() const { return size_; }

 private:
  MappedFile(void* pages, size_t before, size_t size)
      : pages_(pages), before_(before), size_(size) {}
  void* pages_;    // the first of them
  size_t before_;  // bytes of it that are not in the range
  size_t size_;
};

/// Lets go of the whole pages among `size` bytes of a MappedFile that nobody has written to: they
/// are read from the file again when they are wanted. Memory of any other kind is left alone.
void release_file_pages(const void* data, size_t size);

}  // namespace llmkit
