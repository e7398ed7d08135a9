#include "tensorflow/gpu/device_weight.h"

#include "tensorflow/gpu/held.h"
#include "tensorflow/names.h"

namespace llmkit::tensorflow_gpu {
namespace {

size_t code_bytes(const WeightView& view) {
  const size_t count = view.rows * view.cols;
  constexpr size_t kBits[] = {32, 16, 16, 8, 4, 4, 4};  // in the order of WeightFormat
  return (count * kBits[static_cast<size_t>(view.format)] + 7) / 8;
}

/// Copies the parts of a stored weight.
class Uploader {
 public:
  Uploader(Call& call, std::vector<Memory>& memory) : call_(call), memory_(memory) {}

  WeightView upload(const WeightView& host) {
    WeightView view = host;
    const size_t count = host.rows * host.cols;
    const size_t groups =
        host.group_size == 0 ? 0 : (count + host.group_size - 1) / host.group_size;
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
  template <typename T>
  const T* copy(const T* host, size_t count) {
    if (host == nullptr || count == 0) return nullptr;
    memory_.push_back(call_.memory(count * sizeof(T)));
    void* const data = memory_.back().get();
    call_.upload(data, host, count * sizeof(T));
    return static_cast<const T*>(data);
  }

  Call& call_;
  std::vector<Memory>& memory_;
};

/// Replaces the stored bytes by the packed form, which products in bf16 read.
void pack(Call& call, const WeightView& host, DeviceWeight& weight) {
  const std::vector<Memory> stored = std::move(weight.memory);
  weight.packed =
      std::make_unique<cuda::PackedWeight>(cuda::packed_form(host, cuda::exact_scale_type(host)));
  weight.packed->instructions = cuda::invariant_instructions();
  weight.memory = {call.memory(cuda::packed_bytes(*weight.packed))};
  cuda::place_packed(*weight.packed, weight.memory[0].get());
  Call::check(cuda::pack_weight(weight.view, *weight.packed, call.stream()));
  weight.view = {};
  weight.view.rows = host.rows;
  weight.view.cols = host.cols;
}

std::shared_ptr<DeviceWeight> make(Call& call, int64_t number) {
  const tensorflow::Matrix host = tensorflow::named_weight(number);
  if (host.packed != nullptr) throw OpError("the weight is packed for the CPU");
  auto weight = std::make_shared<DeviceWeight>();
  weight->view = Uploader(call, weight->memory).upload(host.view);
  if (tensorflow::is_named_bf16(number)) pack(call, host.view, *weight);
  return weight;
}

}  // namespace

std::shared_ptr<const DeviceWeight> device_weight(Call& call, int64_t number) {
  return held().weights.at(number, [&] { return make(call, number); });
}

}  // namespace llmkit::tensorflow_gpu
