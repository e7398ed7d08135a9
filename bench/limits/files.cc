#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "work.h"

namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;

/** A file that is open while it lives. */
class File {
 public:
  explicit File(const std::string& path) : descriptor_(open(path.c_str(), O_RDONLY)) {
    struct stat status = {};
    if (descriptor_ < 0 || fstat(descriptor_, &status) != 0) {
      perror(path.c_str());
      std::exit(1);
    }
    size_ = static_cast<size_t>(status.st_size);
  }
  ~File() { close(descriptor_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  size_t size() const { return size_; }

  void Read(size_t begin, size_t end) const {
    std::vector<char> piece(kPieceBytes);
    while (begin < end) {
      const ssize_t count = pread(descriptor_, piece.data(), std::min(kPieceBytes, end - begin),
                                  static_cast<off_t>(begin));
      if (count <= 0) return;
      begin += static_cast<size_t>(count);
    }
  }

 private:
  const int descriptor_;
  size_t size_ = 0;
};

}  // namespace

Work FileWork(const std::vector<std::string>& paths, int threads) {
  auto files = std::make_shared<std::vector<std::unique_ptr<File>>>();
  double bytes = 0;
  for (const std::string& path : paths) {
    files->push_back(std::make_unique<File>(path));
    bytes += static_cast<double>(files->back()->size());
  }
  return {"files", bytes / threads, [files, threads](int thread) {
            for (const auto& file : *files) {
              const size_t part = file->size() / threads, begin = part * thread;
              file->Read(begin, thread + 1 == threads ? file->size() : begin + part);
            }
          }};
}
