#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/binding/arguments.h"

namespace llmkit::cuda {

/// What an array of the device is to JavaScript: an object with `length` that wraps this.
struct DeviceArray {
  static constexpr uint64_t kMark = 0x6c6c6d6b69744441;  // nothing else that is wrapped begins so
  uint64_t mark = kMark;
  Block block;
  size_t length = 0;
  bool is_float = true;
  bool released = false;

  size_t bytes() const { return length * 4; }
  const char* type_name() const { return is_float ? "float32" : "int32"; }
};

/// The array of an argument; TypeError for anything else, RangeError once it is released.
DeviceArray& device_array(const Arguments& args, size_t index);

}  // namespace llmkit::cuda
