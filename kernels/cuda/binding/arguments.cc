#include "cuda/binding/arguments.h"

#include <memory>
#include <string>

#include "cuda/binding/device_array.h"
#include "cuda/binding/held_weight.h"
#include "cuda/elementwise/elementwise.h"
#include "cuda/packed_linear/products.h"

namespace llmkit {
namespace cuda {
namespace {

/// The array behind a value, or null.
DeviceArray* array_of(napi_env env, napi_value value) {
  void* data = nullptr;
  if (napi_unwrap(env, value, &data) != napi_ok) return nullptr;
  auto* const array = static_cast<DeviceArray*>(data);
  return array->mark == DeviceArray::kMark ? array : nullptr;
}

/// The array of an argument, which keeps what is made along with it.
DeviceArray& kept_array(const Arguments& args, size_t index) {
  DeviceArray& array = array_anywhere(args, index);
  if (array.paged != nullptr) array_pager().bring_in(*array.paged);
  return array;
}

void expect_floats(const Arguments& args, size_t index, const DeviceArray& array) {
  if (!array.is_float()) args.expected(index, "a float32 array of the GPU");
}

void expect_written(const Arguments& args, const DeviceArray& array) {
  if (array.type == ElementType::kBf16 && !array.written)
    args.range_error("an array of bf16 is read or written that nothing has written as such");
}

/// Whether a product takes x rounded: rows that it does not round itself, and whole tiles of the
/// weight's columns.
bool takes_rounded(size_t size, size_t cols) {
  return cols % kTileColumns == 0 && size > kFewestRows * cols && size <= kFewRows * cols;
}

}  // namespace

DeviceArray& array_anywhere(const Arguments& args, size_t index) {
  DeviceArray* const array = array_of(args.env(), args.value(index));
  if (array == nullptr) args.expected(index, "an array of the GPU");
  if (array->released) args.range_error("the array has been released");
  return *array;
}

DeviceArray& device_array(const Arguments& args, size_t index) {
  DeviceArray& array = kept_array(args, index);
  array.rounded = Block();  // the call may change the array
  return array;
}

bf16* rounded_output(const Arguments& args, size_t index, size_t cols) {
  DeviceArray& array = device_array(args, index);
  if (!takes_rounded(array.length, cols)) return nullptr;
  array.rounded = device_memory(array.length * sizeof(bf16), "rounded");
  return array.rounded.as<bf16>();
}

ProductRows product_rows(const Arguments& args, size_t index, size_t cols) {
  const DeviceArray& array = kept_array(args, index);
  expect_floats(args, index, array);
  expect_written(args, array);
  return {{array.elements(), array.length},
          takes_rounded(array.length, cols) ? array.rounded.as<const bf16>() : nullptr};
}

const void* words_to_read(const Arguments& args, const DeviceArray& array) {
  if (array.type != ElementType::kBf16) return array.block.data();
  expect_written(args, array);
  auto* const floats = static_cast<float*>(CallMemory::take(array.length * sizeof(float)));
  check(convert(array.length, array.elements(), floats, stream()), "convert");
  return floats;
}

std::vector<Block>& CallMemory::blocks() {
  static std::vector<Block> blocks;
  return blocks;
}

void* CallMemory::take(size_t bytes) {
  blocks().push_back(device_memory(bytes, "scratch"));
  return blocks().back().data();
}

const PackedWeight* packed_weight(const Arguments& args, size_t index) {
  const Napi::Value value = args.value(index);
  return value.IsExternal() ? held_weight(args, value).packed.get() : nullptr;
}

}  // namespace cuda

namespace binding {

Floats Arguments::floats(size_t index) const {
  const cuda::DeviceArray& array = cuda::device_array(*this, index);
  cuda::expect_floats(*this, index, array);
  // Of an array of float32 it is the array itself, which the call may write.
  const void* const values = cuda::words_to_read(*this, array);
  return {static_cast<float*>(const_cast<void*>(values)), array.length};
}

Ints Arguments::ints(size_t index) const {
  const cuda::DeviceArray& array = cuda::device_array(*this, index);
  if (array.is_float()) expected(index, "an int32 array of the GPU");
  return {array.block.as<int32_t>(), array.length};
}

StoredElements Arguments::elements(size_t index) const {
  const cuda::DeviceArray& array = cuda::device_array(*this, index);
  cuda::expect_floats(*this, index, array);
  cuda::expect_written(*this, array);
  return {array.elements(), array.length};
}

Elements Arguments::output_elements(size_t index, size_t size, const char* what) const {
  cuda::DeviceArray& array = cuda::device_array(*this, index);
  if (array.type != cuda::ElementType::kBf16) return floats(index, size, what).data;
  expect(array.length, size, what);
  array.written = true;
  return array.block.as<uint16_t>();
}

WeightView Arguments::matrix(size_t index, size_t cols) const {
  if (!info_[index].IsExternal()) {
    const Floats values = floats(index);
    return dense_view(values.data, quotient(values.size, cols, "weight"), cols);
  }
  const WeightView& view = cuda::held_weight(*this, info_[index]).view;
  if (view.cols != cols)
    range_error("weight has rows of " + std::to_string(view.cols) + ", expected " +
                std::to_string(cols));
  return view;
}

}  // namespace binding
}  // namespace llmkit
