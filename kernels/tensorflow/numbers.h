#pragma once

#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "tensorflow/op.h"

namespace llmkit::tensorflow {

/// What ops know by a number. TensorFlow keeps a kernel per number that is an attribute, so that
/// none is used again.
template <typename T>
class Numbers {
 public:
  int64_t add(T value) {
    const std::lock_guard<std::mutex> lock(mutex_);
    values_.emplace(next_, value);
    return next_++;
  }

  void forget(int64_t number) {
    const std::lock_guard<std::mutex> lock(mutex_);
    values_.erase(number);
  }

  /// Throws OpError with `missing` when it has been forgotten.
  T at(int64_t number, const char* missing) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = values_.find(number);
    if (found == values_.end()) throw OpError(missing);
    return found->second;
  }

 private:
  mutable std::mutex mutex_;
  int64_t next_ = 0;
  std::unordered_map<int64_t, T> values_;
};

}  // namespace llmkit::tensorflow
