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

/// Has this called with the number of every weight that is forgotten.
void when_forgotten(void (*callback)(int64_t number));

/// The keys and values that nameCache gave this number. Throws OpError after forgetCache.
KvCache& named_cache(int64_t number);

/// nameWeight(handle, bf16), forgetWeight(number), nameCache(handle), forgetCache(number),
/// cacheBytes(handle)
void add_names(Napi::Object exports);

}  // namespace llmkit::tensorflow
