#pragma once

#include "cuda/packed/stored_weight.h"
#include "cuda/quantize/quantize.h"

// What the kernels of this folder share: the codebook, rounding, and the order of their sums.

namespace llmkit::cuda {

constexpr unsigned kQuantizeThreads = 256;
/// The lanes of a sum, as of the vectors of kernels/README.md.
constexpr unsigned kSumLanes = 16;

/// Sixteen values in ascending order: their codes, and what lies halfway to the next one.
struct Codebook {
  float midpoints[16];
  uint8_t codes[16];
  uint8_t zero_code;
  float values[16];  // by code
  float sorted[16];  // ascending
};

inline Codebook codebook_of(WeightFormat format) {
  const bool nf4 = format == WeightFormat::kNf4;
  const float* const values = nf4 ? kNf4Values : kFp4Values;
  Codebook book = {};
  float* const sorted = book.sorted;
  for (int code = 0; code < 16; ++code) {
    int rank = 0;  // of two zeros, the lower code comes first
    for (int other = 0; other < 16; ++other)
      rank += values[other] < values[code] || (values[other] == values[code] && other < code);
    sorted[rank] = values[code];
    book.codes[rank] = static_cast<uint8_t>(code);
    book.values[code] = values[code];
  }
  for (int i = 0; i < 15; ++i) book.midpoints[i] = (sorted[i] + sorted[i + 1]) / 2;
  book.midpoints[15] = __builtin_huge_valf();
  book.zero_code = nf4 ? 7 : 0;
  return book;
}

/// Number of midpoints below t.
__device__ inline unsigned rank_of(float t, const float* midpoints) {
  unsigned rank = 0;
  for (unsigned step = 8; step > 0; step /= 2)
    if (midpoints[rank + step - 1] < t) rank += step;
  return rank;
}

__device__ inline bool is_integer(WeightFormat format) {
  return format == WeightFormat::kInt8 || format == WeightFormat::kInt4;
}

/// The values to be quantized.
__device__ inline WeightView values_of(const QuantizeArgs& p) {
  WeightView view;
  view.format = p.format;
  view.codes = p.values;
  return view;
}

__device__ inline float rounded_scale(float scale, ScaleType type) {
  constexpr float kSmallest = 0x1p-23f;  // so that nothing is divided by 0
  if (type == ScaleType::kBf16) scale = __bfloat162float(__float2bfloat16_rn(scale));
  if (type == ScaleType::kF16) scale = __half2float(__float2half_rn(scale));
  return scale == 0 ? kSmallest : scale;
}

/// Rounds to the nearest integer, ties to even; |x| < 2^22.
__device__ inline float nearest_integer(float x) {
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23
  return x + kRounder - kRounder;
}

__device__ inline float half_of(WeightFormat format) {
  return format == WeightFormat::kInt8 ? 128.0f : 8.0f;
}

/// The sum of the lanes: lanes i and i + 8, then 4, 2, 1 apart.
__device__ inline float add_lanes(float sum) {
  for (unsigned apart = kSumLanes / 2; apart > 0; apart /= 2)
    sum += __shfl_xor_sync(kAllLanes, sum, static_cast<int>(apart));
  return sum;
}

/// Looks for a better scale, and zero point, than the parts hold: cpu/quantize/candidates.h says
/// how.
cudaError_t search_grids(const QuantizeArgs& args, const Codebook& book, size_t groups,
                         cudaStream_t stream);

}  // namespace llmkit::cuda
