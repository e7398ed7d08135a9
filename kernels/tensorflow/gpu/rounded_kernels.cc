#include "cuda/rounded/rounded.h"
#include "tensorflow/gpu/kernel.h"

namespace llmkit::tensorflow_gpu {
namespace {

/// An input that is a matrix.
struct Matrix {
  Matrix(Call& call, int index) {
    const Input<const float> values = call.floats(index);
    if (values.shape.size() != 2) throw OpError("the weight must be a matrix");
    data = values.data;
    rows = static_cast<size_t>(values.shape[0]);
    cols = static_cast<size_t>(values.shape[1]);
  }

  const float* data;
  size_t rows, cols;
};

/// y [..., rows] = x [..., cols] · weightᵀ + bias of a trained weight, in bf16
struct RoundedLinear {
  explicit RoundedLinear(const Attributes&) {}

  void operator()(Call& call) const {
    const Input<const float> x = call.floats(0);
    const Matrix weight(call, 1);
    cuda::RoundedLinearArgs p;
    p.m = quotient(x.size, weight.cols, "x");
    p.rows = weight.rows;
    p.cols = weight.cols;
    p.x = x.data;
    p.weight = weight.data;
    p.bias = call.optional_floats(2, weight.rows, "bias");
    p.y = call.output(0, with_last(x.shape, weight.rows));
    void* const workspace = call.scratch(cuda::rounded_linear_workspace(p));
    Call::check(cuda::rounded_linear(p, workspace, call.stream()));
  }
};

/// dx [..., cols] = dy [..., rows] · weight
struct RoundedLinearGradInput {
  explicit RoundedLinearGradInput(const Attributes&) {}

  void operator()(Call& call) const {
    const Input<const float> dy = call.floats(0);
    const Matrix weight(call, 1);
    cuda::RoundedGradInputArgs p;
    p.m = quotient(dy.size, weight.rows, "dy");
    p.rows = weight.rows;
    p.cols = weight.cols;
    p.dy = dy.data;
    p.weight = weight.data;
    p.dx = call.output(0, with_last(dy.shape, weight.cols));
    void* const workspace = call.scratch(cuda::rounded_grad_input_workspace(p));
    Call::check(cuda::rounded_grad_input(p, workspace, call.stream()));
  }
};

/// dweight [rows, cols] = dyᵀ · x, of dy [..., rows] and x [..., cols]
struct RoundedLinearGradWeight {
  explicit RoundedLinearGradWeight(const Attributes&) {}

  void operator()(Call& call) const {
    const Input<const float> dy = call.floats(0), x = call.floats(1);
    if (dy.shape.empty() || x.shape.empty()) throw OpError("dy and x must have an axis");
    const int64_t rows = dy.shape.back(), cols = x.shape.back();
    cuda::RoundedGradWeightArgs p;
    p.rows = static_cast<size_t>(rows);
    p.cols = static_cast<size_t>(cols);
    p.m = quotient(x.size, p.cols, "x");
    expect(dy.size, p.m * p.rows, "dy");
    p.dy = dy.data;
    p.x = x.data;
    p.dweight = call.output(0, {rows, cols});
    void* const workspace = call.scratch(cuda::rounded_grad_weight_workspace(p));
    Call::check(cuda::rounded_grad_weight(p, workspace, call.stream()));
  }
};

}  // namespace

void register_rounded_kernels() {
  register_kernel<RoundedLinear>("LlmkitRoundedLinear");
  register_kernel<RoundedLinearGradInput>("LlmkitRoundedLinearGradInput");
  register_kernel<RoundedLinearGradWeight>("LlmkitRoundedLinearGradWeight");
}

}  // namespace llmkit::tensorflow_gpu
