#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>

#include "tensorflow/gpu/device_cache.h"
#include "tensorflow/gpu/device_weight.h"

namespace llmkit::tensorflow_gpu {

/// What the GPU has of the host's by its number. Ops may run on any thread.
template <typename T>
class ByNumber {
 public:
  /// `make` is called where there is none yet.
  std::shared_ptr<T> at(int64_t number, const std::function<std::shared_ptr<T>()>& make) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::shared_ptr<T>& found = by_number_[number];
    if (found == nullptr) found = make();
    return found;
  }

  /// Null where there is none.
  std::shared_ptr<T> find(int64_t number) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = by_number_.find(number);
    return found == by_number_.end() ? nullptr : found->second;
  }

  void forget(int64_t number) {
    const std::lock_guard<std::mutex> lock(mutex_);
    by_number_.erase(number);
  }

 private:
  std::mutex mutex_;
  std::map<int64_t, std::shared_ptr<T>> by_number_;
};

/// Everything that the GPU holds; numbers that are forgotten are forgotten here.
struct Held {
  ByNumber<DeviceWeight> weights;
  ByNumber<DeviceCache> caches;
};
Held& held();

}  // namespace llmkit::tensorflow_gpu
