#include "cuda/linear/linear.h"

#include "cuda/gemm/gemm.h"

namespace llmkit::cuda {
namespace {

GemmArgs product_of(const LinearArgs& args) {
  GemmArgs g;
  g.m = args.m;
  g.n = args.weight.rows;
  g.k = args.weight.cols;
  g.a = {args.x, args.weight.cols, 1};
  g.weight_is = GemmWeight::kRows;
  g.weight = args.weight;
  g.bias = args.bias;
  g.residual = args.residual;
  g.y = args.y;
  return g;
}

GemmArgs product_of(const LinearGradInputArgs& args) {
  GemmArgs g;
  g.m = args.m;
  g.n = args.weight.cols;
  g.k = args.weight.rows;
  g.a = {args.dy, args.weight.rows, 1};
  g.weight_is = GemmWeight::kColumns;
  g.weight = args.weight;
  g.y = args.dx;
  return g;
}

}  // namespace

size_t linear_workspace(const LinearArgs& args) { return gemm_workspace(product_of(args)); }

cudaError_t linear(const LinearArgs& args, void* workspace, cudaStream_t stream) {
  return gemm(product_of(args), workspace, stream);
}

size_t linear_grad_input_workspace(const LinearGradInputArgs& args) {
  return gemm_workspace(product_of(args));
}

cudaError_t linear_grad_input(const LinearGradInputArgs& args, void* workspace,
                              cudaStream_t stream) {
  return gemm(product_of(args), workspace, stream);
}

}  // namespace llmkit::cuda
