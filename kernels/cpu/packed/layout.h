#pragma once

#include <optional>

#include "base/packed_weight.h"

namespace llmkit {

/// Raise it when the bytes of a packed weight change: kept ones of another layout are not read.
constexpr int kPackedLayout = 1;

/// What the sizes of a packed weight follow from; with its bytes it is the whole weight.
struct PackedForm {
  WeightFormat format = WeightFormat::kBf16;  // as it was stored
  Compute compute = Compute::kBf16;
  size_t rows = 0, cols = 0;
  size_t group = 0;  // columns of a packed group; 0: 16-bit values without groups
  ScaleType scale_type = ScaleType::kNone;
  bool has_zeros = false;
};

/// All of a PackedWeight but its bytes; none for a form that pack_weight never makes.
std::optional<PackedWeight> packed_layout(const PackedForm& form);

/// The form that packed_layout makes this weight of.
PackedForm packed_form(const PackedWeight& weight, WeightFormat stored);

}  // namespace llmkit
