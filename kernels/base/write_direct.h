#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace llmkit {

/// A file that is written, by two descriptors.
struct DirectTarget {
  int descriptor;
  int direct;  // opened with O_DIRECT
};

/// Puts `size` bytes, those from `at` on, in `out`. Says what went wrong, or nothing.
using FillPiece = std::function<std::string(size_t at, size_t size, void* out)>;

/// Writes a range of a file. Whole blocks go from memory to the disk, so that the system need not
/// have memory for all of the file; what is left at either end, and what the file system does not
/// take that way, is written as usual. Says what went wrong, or nothing.
std::string write_direct(const DirectTarget& file, uint64_t offset, size_t size,
                         const FillPiece& fill);

}  // namespace llmkit
