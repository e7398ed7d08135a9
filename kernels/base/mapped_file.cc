#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>

namespace llmkit {
namespace {

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

/// Where files are mapped: the end of each mapping by its begin.
struct Mappings {
  std::mutex mutex;
  std::map<uintptr_t, uintptr_t> ends;

  static Mappings& instance() {
    static Mappings* const mappings = new Mappings;  // outlives whoever unmaps last
    return *mappings;
  }
  void add(void* data, size_t size) {
    const std::lock_guard<std::mutex> lock(mutex);
    const uintptr_t begin = reinterpret_cast<uintptr_t>(data);
    ends[begin] = begin + size;
  }
  void remove(void* data) {
    const std::lock_guard<std::mutex> lock(mutex);
    ends.erase(reinterpret_cast<uintptr_t>(data));
  }
  bool holds(uintptr_t begin, uintptr_t end) {
    const std::lock_guard<std::mutex> lock(mutex);
    const auto after = ends.upper_bound(begin);
    return after != ends.begin() && end <= std::prev(after)->second;
  }
};

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
  if (data != nullptr) Mappings::instance().add(data, size);
  return std::unique_ptr<MappedFile>(new MappedFile(data, size));
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  Mappings::instance().remove(data_);
  ::munmap(data_, size_);
}

void release_file_pages(const void* data, size_t size) {
  const uintptr_t begin = reinterpret_cast<uintptr_t>(data), end = begin + size;
  if (!Mappings::instance().holds(begin, end)) return;
  const uintptr_t page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t first = (begin + page - 1) / page * page, last = end / page * page;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

}  // namespace llmkit
