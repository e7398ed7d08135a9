#include "binding/weight_reader.h"

#include <iterator>
#include <string>

namespace llmkit::binding {
namespace {

constexpr size_t kBitsOfFormat[] = {32, 16, 16, 8, 4, 4, 4};

/// Reads the properties of a WeightData object.
class WeightReader {
 public:
  WeightReader(const Arguments& args, Napi::Object data, std::vector<Napi::ObjectReference>& arrays)
      : args_(args), data_(data), arrays_(arrays) {}

  WeightView read() {
    WeightView view;
    const size_t format = read_format();
    view.format = static_cast<WeightFormat>(format);
    view.rows = whole(args_, data_, "rows");
    view.cols = whole(args_, data_, "cols");
    if (view.rows > 0 && view.cols > (size_t{1} << 53) / view.rows)
      args_.range_error("the matrix is too large");
    const size_t count = view.rows * view.cols;
    view.codes = bytes(data_, "codes", (count * kBitsOfFormat[format] + 7) / 8);
    if (view.format >= WeightFormat::kInt8) read_groups(view, count);
    return view;
  }

 private:
  size_t read_format() const {
    const std::string name = data_.Get("format").ToString().Utf8Value();
    for (size_t i = 0; i < std::size(kFormatNames); ++i)
      if (name == kFormatNames[i]) return i;
    args_.range_error("unknown format " + name);
  }

  void read_groups(WeightView& view, size_t count) {
    view.group_size = whole(args_, data_, "groupSize");
    if (view.group_size == 0) args_.range_error("groupSize must not be 0");
    const size_t groups = (count + view.group_size - 1) / view.group_size;
    const Napi::Value scales = data_.Get("scales");
    if (scales.IsTypedArray()) {
      view.scales = floats(data_, "scales", groups);
    } else if (scales.IsObject()) {
      view.nested = read_nested(scales.As<Napi::Object>(), groups);
    } else {
      args_.type_error("scales must be a Float32Array or nested scales");
    }
    if (data_.Get("zeros").IsTypedArray()) view.zeros = bytes(data_, "zeros", groups);
  }

  NestedScales read_nested(Napi::Object scales, size_t groups) {
    NestedScales nested;
    nested.block_size = whole(args_, scales, "blockSize");
    if (nested.block_size == 0) args_.range_error("blockSize must not be 0");
    nested.codes = bytes(scales, "codes", groups);
    nested.map = floats(scales, "map", 256);
    nested.absmax = floats(scales, "absmax", (groups + nested.block_size - 1) / nested.block_size);
    nested.offset = scales.Get("offset").ToNumber().FloatValue();
    return nested;
  }

  const uint8_t* bytes(Napi::Object object, const char* key, size_t count) {
    return static_cast<const uint8_t*>(array(object, key, napi_uint8_array, count));
  }
  const float* floats(Napi::Object object, const char* key, size_t count) {
    return static_cast<const float*>(array(object, key, napi_float32_array, count));
  }

  /// Keeps the array alive and returns where its elements are.
  const void* array(Napi::Object object, const char* key, napi_typedarray_type wanted,
                    size_t count) {
    const Napi::Value value = object.Get(key);
    napi_typedarray_type type = napi_int8_array;
    void* data = nullptr;
    size_t length = 0;
    const napi_status status =
        napi_get_typedarray_info(args_.env(), value, &type, &length, &data, nullptr, nullptr);
    if (status != napi_ok || type != wanted)
      args_.type_error(std::string(key) + " must be a " +
                       (wanted == napi_uint8_array ? "Uint8Array" : "Float32Array"));
    args_.expect(length, count, key);
    arrays_.push_back(Napi::Persistent(value.As<Napi::Object>()));
    return data;
  }

  const Arguments& args_;
  Napi::Object data_;
  std::vector<Napi::ObjectReference>& arrays_;
};

}  // namespace

size_t whole(const Arguments& args, Napi::Object object, const char* key) {
  const double value = object.Get(key).ToNumber().DoubleValue();
  if (!(value >= 0 && value <= 9007199254740992.0) ||
      value != static_cast<double>(static_cast<size_t>(value)))
    args.range_error(std::string(key) + " must be a whole number");
  return static_cast<size_t>(value);
}

WeightView read_weight(const Arguments& args, Napi::Object data,
                       std::vector<Napi::ObjectReference>& arrays) {
  return WeightReader(args, data, arrays).read();
}

}  // namespace llmkit::binding
