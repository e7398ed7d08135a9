#pragma once

#include <napi.h>

#include "base/packed_weight.h"
#include "base/weight_view.h"
#include "tensorflow/op.h"

namespace llmkit::tensorflow {

/// The matrix of a product: as it is stored, and packed unless it computes in float32.
struct Matrix {
  WeightView view;
  const PackedWeight* packed = nullptr;
};

/// The frozen weight that nameWeight gave this number.
Matrix named_weight(int64_t number);

/// nameWeight(handle), forgetWeight(number)
void add_weight_names(Napi::Object exports);

}  // namespace llmkit::tensorflow
