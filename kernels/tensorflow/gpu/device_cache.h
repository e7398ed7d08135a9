#pragma once

#include <mutex>
#include <unordered_map>

#include "cuda/attention/kv_cache.h"
#include "tensorflow/gpu/kernel.h"

namespace llmkit::tensorflow_gpu {

/// Keys and values in memory of the GPU, for the rows of a cache that the host has named.
class DeviceCache {
 public:
  /// Of as many rows, heads and values as the host's of this number.
  explicit DeviceCache(int64_t number);

  size_t bytes() const { return cache_.bytes(); }
  void select(size_t count, const int32_t* indices) { cache_.select(count, indices); }

  /// Rows of `most` keys at most after a step, with pages for the keys [positions[b], positions[b]
  /// + count) that it writes. New pages are memory of the call.
  cuda::CachePages reserve(Call& call, const int32_t* positions, size_t count, size_t most);

  size_t rows() const { return cache_.rows(); }
  size_t heads() const { return cache_.heads(); }
  size_t head_size() const { return cache_.layout().E; }

 private:
  cuda::CacheMemory memory();

  Call* call_ = nullptr;  // while pages are reserved
  std::unordered_map<void*, Memory> blocks_;
  cuda::KvCache cache_;
};

/// The cache of this number on the GPU, empty with the first call.
std::shared_ptr<DeviceCache> device_cache(int64_t number);

}  // namespace llmkit::tensorflow_gpu
