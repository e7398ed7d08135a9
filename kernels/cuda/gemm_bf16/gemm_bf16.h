#pragma once

#include "cuda/base/elements.h"

namespace llmkit::cuda {

/// One operand of a product in bf16: element (i, k) is values[i * step + k], or with `across`
/// values[k * step + i]. values is aligned to 16 bytes and step a multiple of 8; along k, elements
/// behind the last one and before the next multiple of 8 are zeros (across, they may be anything).
struct Bf16Operand {
  const bf16* values = nullptr;
  size_t step = 0;
  bool across = false;
};

/// y[m, n] = sum over k of a(m, k) b(n, k) + bias[n] + residual[m, n], summed in float32: one chain
/// of matrix instructions with k ascending for every output, whatever m and n are. Those of
/// warpgroups, where the chip has them, need both operands along k: transposing one for it pays.
struct Bf16GemmArgs {
  size_t m = 0, n = 0, k = 0;
  Bf16Operand a, b;                 // not: a across and b along k
  const float* bias = nullptr;      // [n] or null
  const float* residual = nullptr;  // [m, n] or null; may be y
  Elements y;
};
cudaError_t gemm_bf16(const Bf16GemmArgs& args, cudaStream_t stream);

/// A matrix [rows, cols] rounded to bf16 (or of bf16, copied), its rows `bf16_step(cols)` apart and
/// filled up with zeros.
__host__ __device__ constexpr size_t bf16_step(size_t cols) { return (cols + 7) / 8 * 8; }
__host__ __device__ constexpr size_t bf16_bytes(size_t rows, size_t cols) {
  return rows * bf16_step(cols) * 2;
}
cudaError_t round_to_bf16(const ConstElements& values, size_t rows, size_t cols, bf16* rounded,
                          cudaStream_t stream);
/// The same of its transpose [cols, rows], whose rows are `bf16_step(rows)` apart.
cudaError_t round_transposed(const ConstElements& values, size_t rows, size_t cols, bf16* rounded,
                             cudaStream_t stream);

}  // namespace llmkit::cuda
