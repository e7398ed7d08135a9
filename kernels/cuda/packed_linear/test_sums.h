#pragma once

#include <cmath>
#include <limits>

#include "base/bf16.h"
#include "cuda/packed_linear/products.h"
#include "cuda/packed_linear/test_layer.h"

// How close the sums of matrix instructions come to the exact ones, and for which numbers of rows.

namespace llmkit::cuda::testing {

inline const size_t kRowCounts[] = {1, 2, 7, 8, 9, 16, 17, 33, kMost};
constexpr double kEpsilon = std::numeric_limits<float>::epsilon();
/// What is left of a product of two values that are each split in two bf16 values.
constexpr double kSplitError = 0x1p-15;

/// Rounding errors of a sum of n products by matrix instructions, which may cut bits off.
inline double matrix_ulps(size_t n) { return ulps_of(n) + static_cast<double>(n) / 8; }

inline float rounded(float value) { return from_bf16(to_bf16(value)); }

/// Results of products of warpgroups: the same bits where the chip gives the same for one product.
inline void check_close(Checks& checks, const Values& got, const Values& want, size_t terms) {
  if (cuda::warpgroups() == cuda::Warpgroups::kSameBits)
    checks.same("by products of warpgroups", got.data(), want.data(), want.size());
  for (size_t i = 0; i < want.size(); ++i)
    checks.near("near others", got[i], want[i], matrix_ulps(terms), 10 * std::sqrt(terms));
}

}  // namespace llmkit::cuda::testing
