#include "base/read_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace llmkit {

std::string read_file(int descriptor, uint64_t offset, size_t size, void* out) {
  uint8_t* const bytes = static_cast<uint8_t*>(out);
  for (size_t done = 0; done < size;) {
    const ssize_t count =
        pread(descriptor, bytes + done, size - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return std::strerror(errno);
    if (count == 0) return "the file is shorter than it was";
    done += static_cast<size_t>(count);
  }
  return "";
}

}  // namespace llmkit
