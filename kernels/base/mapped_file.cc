#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace llmkit {
namespace {

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

void* map_descriptor(int descriptor, size_t size) {
  // Without a reservation: a model larger than the memory is read page by page.
  return ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, descriptor, 0);
}

}  // namespace

std::unique_ptr<MappedFile> MappedFile::open(const std::string& path, std::string& error) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status;
  if (descriptor < 0 || ::fstat(descriptor, &status) != 0) {
    error = std::strerror(errno);
    if (descriptor >= 0) ::close(descriptor);
    return nullptr;
  }
  const size_t size = static_cast<size_t>(status.st_size);
  void* data = nullptr;
  if (!S_ISREG(status.st_mode)) {
    error = "not a regular file";
  } else if (size > 0) {
    data = map_descriptor(descriptor, size);
    if (data == MAP_FAILED) error = std::strerror(errno);
  }
  ::close(descriptor);
  if (!error.empty()) return nullptr;
  return std::unique_ptr<MappedFile>(new MappedFile(data, size));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

}  // namespace llmkit
