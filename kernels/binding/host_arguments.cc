#include "binding/arguments.h"
#include "binding/recording.h"

// Arrays of the CPU's addon are JavaScript's typed arrays.

namespace llmkit::binding {
namespace {

bool is_uint16_array(const Napi::Value& value) {
  return value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_uint16_array;
}

}  // namespace

Floats Arguments::floats(size_t index) const {
  if (Recording::current() != nullptr) Recording::current()->keep(info_[index]);
  return host_floats(index);
}

Ints Arguments::ints(size_t index) const {
  if (Recording::current() != nullptr) Recording::current()->keep(info_[index]);
  return host_ints(index);
}

StoredElements Arguments::elements(size_t index) const {
  if (!is_uint16_array(info_[index])) {
    const Floats values = floats(index);
    return {values.data, values.size};
  }
  if (Recording::current() != nullptr) Recording::current()->keep(info_[index]);
  const Span<uint16_t> values = array<uint16_t>(index, napi_uint16_array);
  return {values.data, values.size};
}

Elements Arguments::output_elements(size_t index, size_t size, const char* what) const {
  if (!is_uint16_array(info_[index])) return floats(index, size, what).data;
  elements(index, size, what);
  return array<uint16_t>(index, napi_uint16_array).data;
}

WeightView Arguments::matrix(size_t index, size_t cols) const {
  if (info_[index].IsTypedArray()) {
    const Floats values = floats(index);
    return dense_view(values.data, quotient(values.size, cols, "weight"), cols);
  }
  if (Recording::current() != nullptr) Recording::current()->keep(info_[index]);
  const WeightView& view = weight_of_handle(*this, info_[index]);
  if (view.cols != cols)
    range_error("weight has rows of " + std::to_string(view.cols) + ", expected " +
                std::to_string(cols));
  return view;
}

void check_ids(Napi::Env env, const char* name, const Ints& ids, size_t limit) {
  for (size_t i = 0; i < ids.size; ++i)
    if (ids.data[i] < 0 || static_cast<size_t>(ids.data[i]) >= limit)
      throw Napi::RangeError::New(env, std::string(name) + ": id " + std::to_string(ids.data[i]) +
                                           " is not below " + std::to_string(limit));
}

const PackedWeight* Arguments::packed(size_t index) const {
  return packed_of_handle(*this, info_[index]);
}

}  // namespace llmkit::binding
