#include "cuda/binding/arguments.h"

#include <memory>
#include <string>

#include "cuda/binding/device_array.h"
#include "cuda/binding/held_weight.h"
#include "cuda/packed_linear/products.h"

namespace llmkit {
namespace cuda {
namespace {

Napi::Value new_array(Napi::Env env, Block block, size_t length, bool is_float) {
  napi_value object = nullptr, value = nullptr;
  auto array = std::make_unique<DeviceArray>();
  array->block = std::move(block);
  array->length = length;
  array->is_float = is_float;
  const auto end = [](napi_env, void* data, void*) { delete static_cast<DeviceArray*>(data); };
  const bool made = napi_create_object(env, &object) == napi_ok &&
                    napi_create_double(env, static_cast<double>(length), &value) == napi_ok &&
                    napi_set_named_property(env, object, "length", value) == napi_ok &&
                    napi_wrap(env, object, array.get(), end, nullptr, nullptr) == napi_ok;
  if (!made) throw Napi::Error::New(env);
  array.release();
  return Napi::Value(env, object);
}

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

template <typename T>
binding::Span<T> span_of(const Arguments& args, size_t index, const DeviceArray& array,
                         bool is_float) {
  if (array.is_float != is_float)
    args.expected(index, is_float ? "a float32 array of the GPU" : "an int32 array of the GPU");
  return {array.block.as<T>(), array.length};
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
  return {span_of<float>(args, index, array, true),
          takes_rounded(array.length, cols) ? array.rounded.as<const bf16>() : nullptr};
}

Napi::Value new_floats(Napi::Env env, Block block, size_t length) {
  return new_array(env, std::move(block), length, true);
}

Napi::Value new_ints(Napi::Env env, Block block, size_t length) {
  return new_array(env, std::move(block), length, false);
}

const PackedWeight* packed_weight(const Arguments& args, size_t index) {
  const Napi::Value value = args.value(index);
  return value.IsExternal() ? held_weight(args, value).packed.get() : nullptr;
}

}  // namespace cuda

namespace binding {

Floats Arguments::floats(size_t index) const {
  return cuda::span_of<float>(*this, index, cuda::device_array(*this, index), true);
}

Ints Arguments::ints(size_t index) const {
  return cuda::span_of<int32_t>(*this, index, cuda::device_array(*this, index), false);
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
