#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace llmkit {

/// Reads all bytes of a range of an open file. Says what went wrong, or nothing.
std::string read_file(int descriptor, uint64_t offset, size_t size, void* out);

}  // namespace llmkit
