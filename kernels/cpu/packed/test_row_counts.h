#pragma once

#include "cpu/packed/packed.h"
#include "cpu/weight/reference.h"
#include "testing/testing.h"

namespace llmkit::testing {

/// One weight of every scheme and kind of group, of few rows and columns.
inline std::vector<WeightCase> row_count_cases() {
  using F = WeightFormat;
  return {{F::kInt4, 33, 96, 32, false, false},   {F::kInt4, 17, 144, 48, false, true},
          {F::kInt4, 9, 192, 64, false, true},    {F::kInt4, 31, 192, 96, false, false},
          {F::kInt4, 15, 256, 128, false, true},  {F::kInt4, 34, 127, 127, false, false},
          {F::kInt8, 31, 96, 32, false, true},    {F::kInt8, 8, 256, 128, false, false},
          {F::kInt8, 33, 129, 129, false, false}, {F::kNf4, 33, 128, 64, true, false},
          {F::kFp4, 16, 96, 32, false, false},    {F::kNf4, 7, 100, 64, false, false},
          {F::kBf16, 31, 129, 0, false, false},   {F::kF16, 17, 127, 0, false, false},
          {F::kF32, 8, 65, 0, false, false}};
}

/// The product of every number of rows of x against sums in double.
///
/// @param reference of rows of x and w: what y is without the bias, and what its rounding errors
///     grow with
template <typename Reference>
void check_row_counts(Checks& checks, const PackedWeight& w, const float* x, double ulps,
                      const Reference& reference) {
  const Buffer bias(w.rows, 2);
  std::vector<Sum> want;
  for (size_t i = 0; i < kRowCounts.back() * w.rows; ++i) {
    want.push_back(reference(i / w.rows, i % w.rows));
    want.back().add(bias[i % w.rows]);
  }
  for (const size_t m : kRowCounts) {
    Buffer y(m * w.rows, 3);
    packed_linear(w, m, x, bias.data(), y.data());
    for (size_t i = 0; i < m * w.rows; ++i)
      checks.near("any number of rows", y[i], want[i].value, ulps, want[i].scale());
  }
}

}  // namespace llmkit::testing
