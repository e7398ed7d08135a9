#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "binding/arguments.h"
#include "binding/held_weight.h"
#include "cpu/packed/layout.h"

namespace llmkit::binding {
namespace {

constexpr const char* kScaleNames[] = {"none", "f32", "bf16", "f16"};
constexpr size_t kAlignment = 64;

/// packedLayout()
Napi::Value packed_layout_call(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), kPackedLayout);
}

Napi::Object object_of(Napi::Env env, const PackedForm& form) {
  Napi::Object object = Napi::Object::New(env);
  object["format"] = kFormatNames[static_cast<size_t>(form.format)];
  object["compute"] = kComputeNames[static_cast<size_t>(form.compute)];
  object["rows"] = static_cast<double>(form.rows);
  object["cols"] = static_cast<double>(form.cols);
  object["group"] = static_cast<double>(form.group);
  object["scales"] = kScaleNames[static_cast<size_t>(form.scale_type)];
  object["zeros"] = form.has_zeros;
  return object;
}

/// packedParts(weight)
Napi::Value packed_parts(const Napi::CallbackInfo& info) {
  const Arguments args(info, "packedParts");
  const HeldWeight& held = held_weight(args, info[0]);
  if (held.packed == nullptr) args.range_error("the weight is not packed");
  Napi::Object parts = Napi::Object::New(info.Env());
  const size_t size = held.packed->size_bytes();
  parts["form"] = object_of(info.Env(), packed_form(*held.packed, held.view.format));
  parts["bytes"] = Napi::Buffer<uint8_t>::Copy(info.Env(), held.packed->data, size);
  return parts;
}

/// Reads a PackedForm object of someone else's making.
class FormReader {
 public:
  FormReader(const Arguments& args, Napi::Object object) : args_(args), object_(object) {}

  PackedForm read() const {
    PackedForm form;
    form.format = static_cast<WeightFormat>(choice("format", kFormatNames));
    form.compute = static_cast<Compute>(choice("compute", kComputeNames));
    form.rows = whole(args_, object_, "rows");
    form.cols = whole(args_, object_, "cols");
    form.group = whole(args_, object_, "group");
    form.scale_type = static_cast<ScaleType>(choice("scales", kScaleNames));
    form.has_zeros = object_.Get("zeros").ToBoolean();
    return form;
  }

 private:
  template <size_t kCount>
  size_t choice(const char* key, const char* const (&names)[kCount]) const {
    const std::string name = object_.Get(key).ToString().Utf8Value();
    for (size_t i = 0; i < kCount; ++i)
      if (name == names[i]) return i;
    args_.range_error(std::string("unknown ") + key + " " + name);
  }

  const Arguments& args_;
  Napi::Object object_;
};

/// usePacked(form, bytes)
Napi::Value use_packed(const Napi::CallbackInfo& info) {
  const Arguments args(info, "usePacked");
  if (!info[0].IsObject()) args.type_error("argument 1 must be an object");
  const PackedForm form = FormReader(args, info[0].As<Napi::Object>()).read();
  std::optional<PackedWeight> layout = packed_layout(form);
  if (!layout) args.range_error("no weight is packed in this form");
  const Bytes bytes = args.bytes(1);
  args.expect(bytes.size, layout->size_bytes(), "bytes");
  if (reinterpret_cast<uintptr_t>(bytes.data) % kAlignment != 0)
    args.range_error("the bytes must be aligned to 64");
  layout->data = bytes.data;
  auto held = std::make_unique<HeldWeight>();
  held->view.format = form.format;
  held->view.rows = form.rows;
  held->view.cols = form.cols;
  held->keep_packed(std::make_unique<PackedWeight>(std::move(*layout)));
  held->arrays.push_back(Napi::Persistent(info[1].As<Napi::Object>()));
  return handle_of(info.Env(), std::move(held));
}

}  // namespace

void add_packed_weights(Napi::Object exports) {
  add_function<packed_layout_call>(exports, "packedLayout");
  add_function<packed_parts>(exports, "packedParts");
  add_function<use_packed>(exports, "usePacked");
}

}  // namespace llmkit::binding
