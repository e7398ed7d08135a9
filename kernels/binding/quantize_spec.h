#pragma once

#include "binding/arguments.h"
#include "cpu/quantize/quantize.h"

// The checked arguments of quantize(values, quantized, scaleType, method), in either addon.

namespace llmkit::binding {

constexpr const char* kScaleNames[] = {"f32", "bf16", "f16"};
constexpr ScaleType kScaleTypes[] = {ScaleType::kF32, ScaleType::kBf16, ScaleType::kF16};
constexpr const char* kMethodNames[] = {"rtn", "search"};
constexpr QuantizeMethod kMethods[] = {QuantizeMethod::kNearest, QuantizeMethod::kSearch};

/// That arguments 1 and 2 are a dense matrix and a quantized one of its shape.
inline void check_quantized_pair(const Arguments& args, const WeightView& from,
                                 const WeightView& to) {
  if (from.format >= WeightFormat::kInt8) args.range_error("argument 1 is quantized already");
  if (to.format < WeightFormat::kInt8) args.range_error("argument 2 is not quantized");
  if (from.rows != to.rows || from.cols != to.cols) args.range_error("the shapes differ");
}

/// How `to`, argument 2, is to be filled.
inline QuantizeSpec quantize_spec(const Arguments& args, const WeightView& to) {
  const QuantizeSpec spec = {to.format, to.group_size, kScaleTypes[args.choice(2, kScaleNames)],
                             to.zeros != nullptr, kMethods[args.choice(3, kMethodNames)]};
  const bool integers = to.format == WeightFormat::kInt8 || to.format == WeightFormat::kInt4;
  if (to.scales == nullptr) args.range_error("the scales must be a Float32Array");
  if (integers && to.cols % to.group_size != 0)
    args.range_error("the group size must divide a row");
  if (!integers && spec.zero_points) args.range_error("nf4 and fp4 have no zero points");
  return spec;
}

/// The arrays of `to`. They are the caller's to be filled; a view of a weight is only for reading
/// otherwise.
inline QuantizedParts parts_to_fill(const WeightView& to) {
  return {const_cast<uint8_t*>(to.codes), const_cast<float*>(to.scales),
          const_cast<uint8_t*>(to.zeros)};
}

}  // namespace llmkit::binding
