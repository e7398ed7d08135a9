#include "cuda/rounded/rounded.h"

#include "cuda/gemm_bf16/gemm_bf16.h"

namespace llmkit::cuda {
namespace {

/// A float32 matrix to round.
struct Matrix {
  const float* values;
  size_t rows, cols;
};

/// What two rounded matrices take; the second begins at a multiple of 16 bytes.
size_t rounded_bytes(const Matrix& a, const Matrix& b) {
  return bf16_bytes(a.rows, a.cols) + bf16_bytes(b.rows, b.cols);
}

/// The product `args`, its operands being the two matrices rounded, read across or along k.
cudaError_t rounded_product(Bf16GemmArgs args, const Matrix& a, const Matrix& b, void* workspace,
                            cudaStream_t stream) {
  bf16* const left = static_cast<bf16*>(workspace);
  bf16* const right = left + bf16_bytes(a.rows, a.cols) / sizeof(bf16);
  args.a.values = left;
  args.a.step = bf16_step(a.cols);
  args.b.values = right;
  args.b.step = bf16_step(b.cols);
  cudaError_t error = round_to_bf16(a.values, a.rows, a.cols, left, stream);
  if (error == cudaSuccess) error = round_to_bf16(b.values, b.rows, b.cols, right, stream);
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
