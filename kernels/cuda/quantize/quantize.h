#pragma once

#include "base/weight_view.h"
#include "cpu/quantize/quantize.h"
#include "cuda/base/cuda.h"

// The quantizers of cpu/quantize on the device: the same operations in the same order, so the same
// bytes, and the same sums of what changed as its vector kernels.

namespace llmkit::cuda {

/// Sums of one run of elements, in float32; the host adds the runs up in double, in order.
struct RunSums {
  float values, errors;
};

/// Whole groups of a flattened matrix, from a multiple of quantize_run(spec.group_size) elements
/// on.
struct QuantizeArgs {
  WeightFormat format;    // of the values: kF32, kBf16 or kF16
  const uint8_t* values;  // aligned to an element
  size_t count;           // elements; only the last group of the matrix may be shorter
  QuantizeSpec spec;      // group_size as in quantize.h of the CPU
  QuantizedParts parts;   // of these elements
  RunSums* sums;          // [ceil(count / quantize_run)]
  int32_t* not_finite;    // one word, set to 1 where a value is not finite; never cleared
};

/// Elements that are summed together: an even number of whole groups.
size_t quantize_run(size_t group_size);

/// Fills the parts and sums; those of groups that hold a value that is not finite are of no use.
cudaError_t quantize(const QuantizeArgs& args, cudaStream_t stream);

}  // namespace llmkit::cuda
