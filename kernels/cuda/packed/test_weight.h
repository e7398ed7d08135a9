#pragma once

#include <memory>
#include <vector>

#include "cpu/weight/reference.h"
#include "cuda/packed/packed.h"
#include "cuda/testing/testing.h"

// What the tests of packed weights share.

namespace llmkit::cuda::testing {

/// A weight of host memory, packed on the device, whose products have to agree with those of few
/// rows.
class DeviceWeight {
 public:
  explicit DeviceWeight(const WeightView& host)
      : form_(packed_form(host, exact_scale_type(host))), memory_(packed_bytes(form_)) {
    form_.instructions = invariant_instructions();
    place_packed(form_, memory_.data());
    constexpr size_t kBits[] = {32, 16, 16, 8, 4, 4, 4};
    const size_t count = host.rows * host.cols, bits = kBits[static_cast<size_t>(host.format)];
    const size_t groups = host.group_size > 0 ? (count + host.group_size - 1) / host.group_size : 0;
    const NestedScales& nested = host.nested;
    const size_t blocks = nested.block_size > 0 ? groups / nested.block_size + 1 : 0;
    const auto codes = copy(host.codes, (count * bits + 7) / 8), zeros = copy(host.zeros, groups);
    const auto scales = copy(host.scales, groups), map = copy(nested.map, 256);
    const auto absmax = copy(nested.absmax, blocks);
    const auto scale_codes = copy(nested.codes, groups);
    WeightView view = host;
    view.codes = codes->data();
    if (host.scales != nullptr) view.scales = scales->data();
    if (host.zeros != nullptr) view.zeros = zeros->data();
    if (nested.codes != nullptr)
      view.nested = {scale_codes->data(), map->data(), absmax->data(), nested.block_size,
                     nested.offset};
    expect(pack_weight(view, form_, stream()), "pack_weight");
    expect(cudaStreamSynchronize(stream()), "cudaStreamSynchronize");
  }

  const PackedWeight& weight() const { return form_; }
  /// Its products are of these from now on.
  void use(Instructions instructions) { form_.instructions = instructions; }

  std::vector<float> unpacked() const {
    DeviceVector<float> y(form_.rows * form_.cols);
    expect(unpack_weight(form_, y.data(), stream()), "unpack_weight");
    return y.values();
  }

 private:
  template <class T>
  static std::unique_ptr<DeviceVector<T>> copy(const T* values, size_t count) {
    if (values == nullptr) count = 0;
    return std::make_unique<DeviceVector<T>>(std::vector<T>(values, values + count));
  }
  PackedWeight form_;
  DeviceVector<char> memory_;
};

/// Weights around the sizes of tiles and of all kinds of groups.
inline std::vector<WeightCase> packed_shapes() {
  using F = WeightFormat;
  return {{F::kInt4, 1, 32, 32, false, false},    {F::kInt4, 33, 64, 64, false, true},
          {F::kInt4, 40, 96, 32, false, true},    {F::kInt4, 130, 192, 96, false, false},
          {F::kInt4, 31, 320, 64, false, false},  {F::kInt4, 65, 384, 128, false, true},
          {F::kInt4, 35, 576, 192, false, false}, {F::kInt4, 64, 512, 256, false, true},
          {F::kInt4, 37, 300, 300, false, true},  {F::kInt4, 131, 1152, 128, false, false},
          {F::kNf4, 33, 64, 64, true, false},     {F::kNf4, 70, 640, 64, false, false},
          {F::kNf4, 50, 160, 32, true, false},    {F::kNf4, 65, 1152, 128, true, false},
          {F::kFp4, 45, 192, 64, true, false},    {F::kFp4, 32, 96, 32, false, false},
          {F::kInt8, 47, 256, 64, false, true},   {F::kInt8, 66, 100, 100, false, false},
          {F::kInt8, 31, 672, 32, false, true},   {F::kInt8, 90, 384, 128, false, false},
          {F::kBf16, 47, 100, 0, false, false},   {F::kBf16, 70, 1088, 0, false, false},
          {F::kF16, 33, 130, 0, false, false},    {F::kF32, 20, 33, 0, false, false}};
}

}  // namespace llmkit::cuda::testing
