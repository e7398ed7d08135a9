#pragma once

#include "base/weight_view.h"
#include "cuda/base/elements.h"

namespace llmkit::cuda {

/// One operand: element (i, k) of matrix z is values[(z % batch) * batch_step + i * row_step +
/// k * k_step]; one of the steps is 1.
struct GemmOperand {
  ConstElements values;
  size_t row_step = 0, k_step = 1;
  size_t batch = 1, batch_step = 0;
};

/// How a frozen weight is the operand b: by its rows, b(n, k) = weight[n, k], or by its columns,
/// b(n, k) = weight[k, n].
enum class GemmWeight { kNone, kRows, kColumns };

/// y[z, m, n] = scale * (sum over k of a(m, k) b(n, k)) + bias[n] + residual[z, m, n], in float32.
///
/// The order of a sum depends on k alone, so that the bits of an output depend only on its own row
/// of a and of b: not on m, n or the batch. k is cut in kGemmSlices slices; each is a chain of
/// fused multiply-adds with k ascending, and they are added in order, starting from 0.
struct GemmArgs {
  size_t batch = 1, m = 0, n = 0, k = 0;
  GemmOperand a;
  GemmOperand b;  // unless a weight is
  GemmWeight weight_is = GemmWeight::kNone;
  WeightView weight;  // device pointers
  float scale = 1;
  const float* bias = nullptr;      // [n]
  const float* residual = nullptr;  // as y, and may be y
  float* y = nullptr;
};
constexpr int kGemmSlices = 8;

size_t gemm_workspace(const GemmArgs& args);
cudaError_t gemm(const GemmArgs& args, void* workspace, cudaStream_t stream);

}  // namespace llmkit::cuda
