#pragma once

#include "cuda/base/cuda.h"

#ifdef LLMKIT_EMULATED
#include "cuda/emulator/tensor_map.h"
#else
#include <cuda.h>

namespace llmkit::cuda {

/// A matrix of bf16 as the copy engine of chips of compute capability 9.0 reads it (copy_box). A
/// kernel takes it in a parameter that is __grid_constant__.
using TensorMap = CUtensorMap;

}  // namespace llmkit::cuda
#endif

namespace llmkit::cuda {

/// A matrix of bf16: `values` is aligned to 16 bytes, `cols` and `step` are multiples of 8, step no
/// less than `cols`.
struct Bf16Matrix {
  const bf16* values;
  size_t rows, cols, step;
};

/// Columns of a box: 128 bytes of each row.
constexpr int kBoxColumns = 64;

/// Makes the map of a matrix that is not empty, read in boxes of at most 256 rows. An error where
/// the driver has no such maps.
cudaError_t make_tensor_map(const Bf16Matrix& matrix, int box_rows, TensorMap* map);

}  // namespace llmkit::cuda
