#pragma once

#include "base/packed_weight.h"
#include "base/weight_view.h"
#include "cpu/attention/kv_cache.h"

namespace Napi {
class Object;
}

namespace llmkit::tensorflow {

/// The matrix of a product: as it is stored, and packed unless it computes in float32.
struct Matrix {
  WeightView view;
  const PackedWeight* packed = nullptr;
};

/// The frozen weight that nameWeight gave this number. Throws OpError after forgetWeight.
Matrix named_weight(int64_t number);

/// Whether products with it are in bf16 although it is not packed: a GPU packs the stored bytes.
bool is_named_bf16(int64_t number);

/// The keys and values that nameCache gave this number. Throws OpError after forgetCache.
KvCache& named_cache(int64_t number);

/// Hears what becomes of weights and caches by their numbers: a GPU keeps its own of each.
class Listener {
 public:
  virtual ~Listener() = default;
  virtual void weight_forgotten(int64_t number) = 0;
  virtual void cache_forgotten(int64_t number) = 0;
  /// Row indices[i] has become row i.
  virtual void rows_selected(int64_t number, size_t count, const int32_t* indices) = 0;
  /// Bytes that it keeps itself for a cache.
  virtual size_t cache_bytes(int64_t number) = 0;
};
/// Calls it from now on; it has to stay. There is one at most.
void set_listener(Listener* listener);

/// nameWeight(handle, bf16), forgetWeight(number), nameCache(handle), forgetCache(number),
/// selectCache(number, indices), cacheBytes(number)
void add_names(Napi::Object exports);

}  // namespace llmkit::tensorflow
