#pragma once

#include <vector>

#include "base/weight_view.h"
#include "cuda/testing/testing.h"

namespace llmkit::cuda::testing {

/// A stored weight of host memory in the memory of the device.
class UploadedWeight {
 public:
  explicit UploadedWeight(const WeightView& host)
      : codes_(copy(host.codes, bytes_of(host))),
        scales_(copy(host.scales, groups_of(host))),
        scale_codes_(copy(host.nested.codes, groups_of(host))),
        map_(copy(host.nested.map, 256)),
        absmax_(copy(host.nested.absmax, blocks_of_scales(host))),
        zeros_(copy(host.zeros, groups_of(host))),
        view_(host) {
    view_.codes = codes_.data();
    if (host.scales != nullptr) view_.scales = scales_.data();
    if (host.zeros != nullptr) view_.zeros = zeros_.data();
    if (host.nested.codes == nullptr) return;
    view_.nested.codes = scale_codes_.data();
    view_.nested.map = map_.data();
    view_.nested.absmax = absmax_.data();
  }

  const WeightView& view() const { return view_; }

 private:
  static size_t bytes_of(const WeightView& w) {
    constexpr size_t kBits[] = {32, 16, 16, 8, 4, 4, 4};
    return (w.rows * w.cols * kBits[static_cast<size_t>(w.format)] + 7) / 8;
  }
  static size_t groups_of(const WeightView& w) {
    return w.group_size == 0 ? 0 : (w.rows * w.cols + w.group_size - 1) / w.group_size;
  }
  static size_t blocks_of_scales(const WeightView& w) {
    const size_t size = w.nested.block_size;
    return size == 0 ? 0 : (groups_of(w) + size - 1) / size;
  }
  template <class T>
  static std::vector<T> copy(const T* values, size_t count) {
    return values == nullptr ? std::vector<T>() : std::vector<T>(values, values + count);
  }

  DeviceVector<uint8_t> codes_;
  DeviceVector<float> scales_;
  DeviceVector<uint8_t> scale_codes_;
  DeviceVector<float> map_, absmax_;
  DeviceVector<uint8_t> zeros_;
  WeightView view_;
};

}  // namespace llmkit::cuda::testing
