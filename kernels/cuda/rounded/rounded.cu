#include <algorithm>

#include "cuda/gemm_bf16/gemm_bf16.h"
#include "cuda/rounded/rounded.h"
#include "cuda/warpgroups/warpgroups.h"

namespace llmkit::cuda {
namespace {

/// A matrix to multiply with.
struct Matrix {
  ConstElements values;
  size_t rows, cols;

  /// Whether it is an operand as it is.
  bool is_rounded() const {
    return values.is_bf16 && bf16_step(cols) == cols &&
           reinterpret_cast<uintptr_t>(values.data) % 16 == 0;
  }
};

/// A rounded matrix takes as much as it may, transposed or not; a multiple of 16 bytes.
size_t rounded_bytes(const Matrix& matrix) {
  return std::max(bf16_bytes(matrix.rows, matrix.cols), bf16_bytes(matrix.cols, matrix.rows));
}
size_t rounded_bytes(const Matrix& a, const Matrix& b) {
  return rounded_bytes(a) + rounded_bytes(b);
}

/// Rounds an operand that needs it; one that runs across k is turned along it for products of
/// warpgroups.
cudaError_t round_operand(Bf16Operand& operand, const Matrix& matrix, bf16* rounded,
                          cudaStream_t stream) {
  const bool turned = operand.across && has_warpgroups();
  operand.values = rounded;
  operand.step = bf16_step(turned ? matrix.rows : matrix.cols);
  if (!turned && matrix.is_rounded()) {
    operand.values = static_cast<const bf16*>(matrix.values.data);
    return cudaSuccess;
  }
  if (!turned) return round_to_bf16(matrix.values, matrix.rows, matrix.cols, rounded, stream);
  operand.across = false;
  return round_transposed(matrix.values, matrix.rows, matrix.cols, rounded, stream);
}

/// The product `args`, its operands being the two matrices rounded, read across or along k.
cudaError_t rounded_product(Bf16GemmArgs args, const Matrix& a, const Matrix& b, void* workspace,
                            cudaStream_t stream) {
  bf16* const left = static_cast<bf16*>(workspace);
  bf16* const right = left + rounded_bytes(a) / sizeof(bf16);
  cudaError_t error = round_operand(args.a, a, left, stream);
  if (error == cudaSuccess) error = round_operand(args.b, b, right, stream);
  if (error == cudaSuccess) error = gemm_bf16(args, stream);
  return error;
}

}  // namespace

size_t rounded_linear_workspace(const RoundedLinearArgs& p) {
  return rounded_bytes({p.x, p.m, p.cols}, {p.weight, p.rows, p.cols});
}

cudaError_t rounded_linear(const RoundedLinearArgs& p, void* workspace, cudaStream_t stream) {
  Bf16GemmArgs args;
  args.m = p.m;
  args.n = p.rows;
  args.k = p.cols;
  args.bias = p.bias;
  args.y = p.y;
  return rounded_product(args, {p.x, p.m, p.cols}, {p.weight, p.rows, p.cols}, workspace, stream);
}

size_t rounded_grad_input_workspace(const RoundedGradInputArgs& p) {
  return rounded_bytes({p.dy, p.m, p.rows}, {p.weight, p.rows, p.cols});
}

cudaError_t rounded_grad_input(const RoundedGradInputArgs& p, void* workspace,
                               cudaStream_t stream) {
  Bf16GemmArgs args;
  args.m = p.m;
  args.n = p.cols;
  args.k = p.rows;
  args.b.across = true;
  args.y = p.dx;
  return rounded_product(args, {p.dy, p.m, p.rows}, {p.weight, p.rows, p.cols}, workspace, stream);
}

size_t rounded_grad_weight_workspace(const RoundedGradWeightArgs& p) {
  return rounded_bytes({p.dy, p.m, p.rows}, {p.x, p.m, p.cols});
}

cudaError_t rounded_grad_weight(const RoundedGradWeightArgs& p, void* workspace,
                                cudaStream_t stream) {
  Bf16GemmArgs args;
  args.m = p.rows;
  args.n = p.cols;
  args.k = p.m;
  args.a.across = true;
  args.b.across = true;
  args.y = p.dweight;
  return rounded_product(args, {p.dy, p.m, p.rows}, {p.x, p.m, p.cols}, workspace, stream);
}

}  // namespace llmkit::cuda
