#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
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

size_t page_size() { return static_cast<size_t>(::sysconf(_SC_PAGESIZE)); }

void* map_pages(int descriptor, size_t offset, size_t size) {
  // Without a reservation: a model larger than the memory is read page by page.
  constexpr int kFlags = MAP_PRIVATE | MAP_NORESERVE;
  const off_t begin = static_cast<off_t>(offset);
  return ::mmap(nullptr, size, PROT_READ | PROT_WRITE, kFlags, descriptor, begin);
}

}  // namespace

std::unique_ptr<MappedFile> MappedFile::open(const std::string& path, const FileRange& range,
                                             std::string& error) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status;
  if (descriptor < 0 || ::fstat(descriptor, &status) != 0) {
    error = std::strerror(errno);
    if (descriptor >= 0) ::close(descriptor);
    return nullptr;
  }
  const size_t end = static_cast<size_t>(status.st_size), begin = std::min(range.offset, end);
  const size_t size = std::min(range.size, end - begin), before = begin % page_size();
  void* pages = nullptr;
  if (!S_ISREG(status.st_mode)) {
    error = "not a regular file";
  } else if (size > 0) {
    pages = map_pages(descriptor, begin - before, before + size);
    if (pages == MAP_FAILED) error = std::strerror(errno);
  }
  ::close(descriptor);
  if (!error.empty()) return nullptr;
  if (pages != nullptr) Mappings::instance().add(pages, before + size);
  return std::unique_ptr<MappedFile>(new MappedFile(pages, pages == nullptr ? 0 : before, size));
}

MappedFile::~MappedFile() {
  if (pages_ == nullptr) return;
  Mappings::instance().remove(pages_);
  ::munmap(pages_, before_ + size_);
}

void release_file_pages(const void* data, size_t size) {
  const uintptr_t begin = reinterpret_cast<uintptr_t>(data), end = begin + size;
  if (!Mappings::instance().holds(begin, end)) return;
  const uintptr_t page = page_size();
  const uintptr_t first = (begin + page - 1) / page * page, last = end / page * page;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

}  // namespace llmkit
