#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "cuda/base/elements.h"
#include "cuda/binding/arguments.h"
#include "cuda/binding/array_pager.h"

namespace llmkit::cuda {

/// How elements are stored, in the order of kElementNames; kBf16 counts as float32 to JavaScript.
enum class ElementType : uint8_t { kF32, kI32, kBf16 };
constexpr const char* kElementNames[] = {"float32", "int32", "bfloat16"};

/// What an array of the device is to JavaScript: an object with `length` that wraps this.
struct DeviceArray {
  static constexpr uint64_t kMark = 0x6c6c6d6b69744441;  // nothing else that is wrapped begins so
  uint64_t mark = kMark;
  Block block;
  size_t length = 0;
  ElementType type = ElementType::kF32;
  bool released = false;
  /// Whether anything was written: asked of bf16 only, which most functions cannot write.
  bool written = false;
  /// The values in bf16, made along with them for the product that is to follow; mostly none.
  Block rounded;
  std::unique_ptr<PagedArray> paged;  // null where its home is the device

  size_t bytes() const { return length * (type == ElementType::kBf16 ? 2 : 4); }
  bool is_float() const { return type != ElementType::kI32; }
  /// Not of int32.
  ConstElements elements() const {
    if (type == ElementType::kBf16) return block.as<const uint16_t>();
    return block.as<const float>();
  }
};

/// The array of an argument, on the device for what is queued next; TypeError for anything else,
/// RangeError once it is released.
DeviceArray& device_array(const Arguments& args, size_t index);
/// The same, wherever it is.
DeviceArray& array_anywhere(const Arguments& args, size_t index);
/// Words of 4 bytes to read: those of the array, or for bf16 its values as float32, which last as
/// long as the call.
const void* words_to_read(const Arguments& args, const DeviceArray& array);

// A product in bf16 rounds its x. For few rows, as in a step of decoding, the launch for that takes
// as long as the work, so the call that makes x writes bf16 values as well, and the array keeps
// them until any other call takes it as an argument, which might change it.

/// Where the call that writes array `index`, made of rows of `cols`, is to put bf16 values; null
/// where no product takes them. To be called after floats(index).
bf16* rounded_output(const Arguments& args, size_t index, size_t cols);
/// x of a product, argument `index`, which keeps its bf16 values.
struct ProductRows {
  StoredElements x;
  const bf16* rounded;  // [m, cols], null where there is none
};
ProductRows product_rows(const Arguments& args, size_t index, size_t cols);

}  // namespace llmkit::cuda
