#pragma once

#include <napi.h>

#include "base/packed_weight.h"
#include "base/weight_view.h"
#include "cpu/attention/kv_cache.h"

namespace llmkit::tensorflow {

/// The matrix of a product: as it is stored, and packed unless it computes in float32.
struct Matrix {
  WeightView view;
  const PackedWeight* packed = nullptr;
};

/// The frozen weight that nameWeight gave this number. Throws OpError after forgetWeight.
Matrix named_weight(int64_t number);

/// The keys and values that nameCache gave this number. Throws OpError after forgetCache.
KvCache& named_cache(int64_t number);

/// nameWeight(handle), forgetWeight(number), nameCache(handle), forgetCache(number),
/// cacheBytes(handle)
void add_names(Napi::Object exports);

}  // namespace llmkit::tensorflow
