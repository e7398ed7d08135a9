#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/packed_weight.h"
#include "base/weight_view.h"

namespace llmkit {

/// How a matrix is rounded to the nearest codes (src/quant/schemes and methods, whose bytes these
/// are).
///   int8, int4  groups of a row. Without zero points the scale is max |w| / (2^bits - 1) * 2, with
///               them (max(w, 0) - min(w, 0)) / (2^bits - 1); it is rounded to scale_type, 0
///               becomes 2^-23, and code = round(w / scale + zero), ties to even, within the bits
///   nf4, fp4    blocks of the flattened matrix, even in size: scale is max |w|, code that of the
///               value nearest to w * (1 / scale), of two equally near the lower one
/// That is kNearest. kSearch looks for a scale (and a zero point) that leaves a smaller squared
/// error: candidates.h says how. The codes are then those of the formulas above for what was found.
enum class QuantizeMethod { kNearest, kSearch };

struct QuantizeSpec {
  WeightFormat format;
  size_t group_size;
  ScaleType scale_type;  // int8 and int4: not kNone
  bool zero_points;      // int8 and int4
  QuantizeMethod method = QuantizeMethod::kNearest;
};

/// The parts of the quantized WeightView, to be filled.
struct QuantizedParts {
  uint8_t* codes;
  float* scales;   // one per group
  uint8_t* zeros;  // the same; null without zero points
};

/// Sums over a matrix: of w² and of (w - restored)², in float32 within a few thousand elements and
/// in double beyond.
struct SquareSums {
  double values = 0, errors = 0;
};

/// The open file that a matrix is mapped from, and where it begins in it.
struct MatrixFile {
  int descriptor;
  uint64_t offset;
};

/// Quantizes a float32, bf16 or f16 matrix with all threads, and says what that changed. Nothing
/// when a value is not finite; the parts are then of no use. With a file the values are read from
/// it, which costs less than to have its pages mapped for one use.
std::optional<SquareSums> quantize(const WeightView& values, const QuantizeSpec& spec,
                                   const QuantizedParts& parts, const MatrixFile* file = nullptr);

/// What the quantized matrix lost, with all threads: where its scales were changed afterwards.
SquareSums quantization_error(const WeightView& values, const WeightView& quantized);

}  // namespace llmkit
