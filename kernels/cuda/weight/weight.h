#pragma once

#include "base/weight_view.h"
#include "cuda/base/cuda.h"
#include "cuda/base/id_report.h"

namespace llmkit::cuda {

/// Rows of a stored weight as float32, each value as kernels/cpu/weight makes it, bit for bit.
struct DequantizeArgs {
  WeightView weight;             // device pointers
  size_t count;                  // rows wanted
  const int32_t* ids = nullptr;  // [count]; null: the rows from `first` on
  size_t first = 0;
  float* y;                    // [count, weight.cols]; NaN where an id is no row
  IdReport* report = nullptr;  // told of such an id
};
cudaError_t dequantize_rows(const DequantizeArgs& args, cudaStream_t stream);

}  // namespace llmkit::cuda
