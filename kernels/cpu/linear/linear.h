#pragma once

#include <cstddef>

#include "base/weight_view.h"
#include "cpu/gemm/low_rank.h"

namespace llmkit {

/// A layer's product, threaded. Rows of x and dx have weight.cols floats, of y and dy weight.rows.
/// No buffers may overlap. A row of the result does not depend on m, bit for bit.

/// y = x · weightᵀ + bias (may be null), in dot form; `update`, if any, is added block by block.
void linear(const WeightView& weight, size_t m, const float* x, const float* bias, float* y,
            const LowRank* update = nullptr);

/// dx = dy · weight, in axpy form; `update`, if any, is added block by block.
void linear_grad_input(const WeightView& weight, size_t m, const float* dy, float* dx,
                       const LowRank* update = nullptr);

/// Row ids[i] of the weight into row i of y.
void dequantize_rows(const WeightView& weight, size_t count, const int* ids, float* y);

/// Rows [row, row + n) of a weight as float32, on this thread: in place if they are stored so,
/// else decoded into the thread's scratch (Scratch::kDecoded).
const float* weight_rows(const WeightView& weight, size_t row, size_t n);

}  // namespace llmkit
