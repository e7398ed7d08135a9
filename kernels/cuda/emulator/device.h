#pragma once

#include <cstddef>

namespace llmkit::cuda::emulator {

/// Bytes of memory that the made-up device has.
size_t device_memory();

}  // namespace llmkit::cuda::emulator
