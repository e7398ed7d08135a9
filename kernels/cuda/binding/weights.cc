#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "binding/weight_reader.h"
#include "cuda/binding/held_weight.h"

namespace llmkit::cuda {
namespace {

size_t code_bytes(const WeightView& view) {
  const size_t count = view.rows * view.cols;
  switch (view.format) {
    case WeightFormat::kF32:
      return count * 4;
    case WeightFormat::kBf16:
    case WeightFormat::kF16:
      return count * 2;
    case WeightFormat::kInt8:
      return count;
    default:
      return (count + 1) / 2;
  }
}

size_t groups_of(const WeightView& view) {
  return view.group_size == 0 ? 0 : (view.rows * view.cols + view.group_size - 1) / view.group_size;
}

/// Copies the parts of a stored weight to the device.
class Uploader {
 public:
  explicit Uploader(std::vector<HeldPart>& parts) : parts_(parts) {}

  WeightView upload(const WeightView& host) {
    WeightView view = host;
    const size_t groups = groups_of(host);
    view.codes = copy(host.codes, code_bytes(host));
    view.scales = copy(host.scales, groups);
    view.zeros = copy(host.zeros, groups);
    const NestedScales& nested = host.nested;
    if (nested.codes == nullptr) return view;
    view.nested.codes = copy(nested.codes, groups);
    view.nested.map = copy(nested.map, 256);
    view.nested.absmax = copy(nested.absmax, (groups + nested.block_size - 1) / nested.block_size);
    return view;
  }

 private:
  template <class T>
  const T* copy(const T* host, size_t count) {
    if (host == nullptr || count == 0) return nullptr;
    const size_t bytes = count * sizeof(T);
    parts_.push_back({on_device(host, bytes, "createWeight"), bytes});
    return parts_.back().block.as<T>();
  }

  std::vector<HeldPart>& parts_;
};

/// Compute types, in the order of kDeviceComputeNames: the CPU's, and one of the GPU's own.
enum class DeviceCompute : uint8_t { kF32, kBf16, kInt8, kBf16Wgmma };
constexpr const char* kDeviceComputeNames[] = {"f32", "bf16", "int8", "bf16-wgmma"};

/// The instructions of a compute type's products.
Instructions instructions_of(const Arguments& args, DeviceCompute compute) {
  if (compute != DeviceCompute::kBf16Wgmma) return invariant_instructions();
  if (!has_warpgroups())
    args.range_error("--compute bf16-wgmma needs a GPU of compute capability 9.0; use bf16");
  return Instructions::kWarpgroups;
}

/// Packs a weight that lies in memory of the host. The stored bytes are on the device only until
/// they are packed.
void pack(const WeightView& host, Instructions instructions, HeldWeight& held) {
  std::vector<HeldPart> stored;
  const WeightView view = Uploader(stored).upload(host);
  auto packed = std::make_unique<PackedWeight>(packed_form(view, exact_scale_type(host)));
  packed->instructions = instructions;
  const size_t bytes = packed_bytes(*packed);
  held.parts.push_back({device_memory(bytes, "createWeight"), bytes});
  place_packed(*packed, held.parts.back().block.data());
  check(pack_weight(view, *packed, stream()), "createWeight");
  held.view.format = host.format;
  held.view.rows = host.rows;
  held.view.cols = host.cols;
  held.packed = std::move(packed);
}

Napi::Value handle_of(Napi::Env env, std::unique_ptr<HeldWeight> held) {
  return Napi::External<HeldWeight>::New(env, held.release(),
                                         [](Napi::Env, HeldWeight* weight) { delete weight; });
}

/// The weight of a handle, wherever it lies.
HeldWeight& any_weight(const Arguments& args, const Napi::Value& handle) {
  if (!handle.IsExternal()) args.type_error("expected a weight or an array of the GPU");
  HeldWeight& held = *handle.As<Napi::External<HeldWeight>>().Data();
  if (held.mark != HeldWeight::kMark) args.type_error("expected a weight");
  if (held.disposed) args.range_error("the weight has been disposed of");
  return held;
}

/// createWeight(data, compute)
Napi::Value create_weight(const Napi::CallbackInfo& info) {
  const Arguments args(info, "createWeight");
  if (!info[0].IsObject()) args.expected(0, "an object");
  const auto compute = static_cast<DeviceCompute>(args.choice(1, kDeviceComputeNames));
  if (compute == DeviceCompute::kInt8)
    args.range_error("--compute int8 has no CUDA kernels; use bf16");
  std::vector<Napi::ObjectReference> arrays;
  const WeightView host = binding::read_weight(args, info[0].As<Napi::Object>(), arrays);
  auto held = std::make_unique<HeldWeight>();
  if (compute == DeviceCompute::kF32)
    held->view = Uploader(held->parts).upload(host);
  else
    pack(host, instructions_of(args, compute), *held);
  return handle_of(info.Env(), std::move(held));
}

/// weightBytes(format, rows, cols, groupSize, hasZeros, compute)
Napi::Value weight_bytes(const Napi::CallbackInfo& info) {
  const Arguments args(info, "weightBytes");
  WeightView view;
  view.format = static_cast<WeightFormat>(args.choice(0, binding::kFormatNames));
  view.rows = args.size(1, "rows");
  view.cols = args.size(2, "cols");
  view.group_size = view.format < WeightFormat::kInt8 ? 0 : args.positive(3, "groupSize");
  // Only whether there are some is looked at.
  const uint8_t some = 0;
  view.zeros = args.flag(4) ? &some : nullptr;
  const size_t groups = groups_of(view), scales = groups * sizeof(float);
  size_t bytes = code_bytes(view) + scales + (view.zeros == nullptr ? 0 : groups);
  if (static_cast<DeviceCompute>(args.choice(5, kDeviceComputeNames)) != DeviceCompute::kF32)
    bytes = packed_bytes(packed_form(view, groups == 0 ? ScaleType::kNone : ScaleType::kF32));
  return Napi::Number::New(info.Env(), static_cast<double>(bytes));
}

/// keepOnHost(weight, group)
void keep_on_host(const Napi::CallbackInfo& info) {
  const Arguments args(info, "keepOnHost");
  HeldWeight& held = any_weight(args, info[0]);
  if (held.paged != nullptr) args.range_error("the weight is on the host already");
  weight_pager().page_out(held, args.size(1, "group"));
}

/// hostWeights()
Napi::Value host_weights(const Napi::CallbackInfo& info) {
  Napi::Object object = Napi::Object::New(info.Env());
  object["hostBytes"] = static_cast<double>(weight_pager().host_bytes());
  object["deviceBytes"] = static_cast<double>(weight_pager().device_bytes());
  return object;
}

/// disposeWeight(weight)
void dispose_weight(const Napi::CallbackInfo& info) {
  HeldWeight& held = any_weight(Arguments(info, "disposeWeight"), info[0]);
  held = HeldWeight{};
  held.disposed = true;
}

}  // namespace

HeldWeight& held_weight(const Arguments& args, const Napi::Value& handle) {
  HeldWeight& held = any_weight(args, handle);
  if (held.paged != nullptr) weight_pager().bring_in(held);
  return held;
}

void add_weights(Napi::Object exports) {
  add_function<create_weight>(exports, "createWeight");
  add_function<weight_bytes>(exports, "weightBytes");
  add_procedure<keep_on_host>(exports, "keepOnHost");
  add_function<host_weights>(exports, "hostWeights");
  add_procedure<dispose_weight>(exports, "disposeWeight");
}

}  // namespace llmkit::cuda
