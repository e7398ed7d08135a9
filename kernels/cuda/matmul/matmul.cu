#include <algorithm>

#include "cuda/gemm/gemm.h"
#include "cuda/matmul/matmul.h"

namespace llmkit::cuda {
namespace {

GemmArgs product_of(const MatmulArgs& p) {
  GemmArgs g;
  g.batch = std::max(p.batch_a, p.batch_b);
  g.m = p.m;
  g.n = p.n;
  g.k = p.k;
  g.a = {p.a, p.transpose_a ? 1 : p.k, p.transpose_a ? p.m : 1, p.batch_a, p.m * p.k};
  g.b = {p.b, p.transpose_b ? p.k : 1, p.transpose_b ? 1 : p.n, p.batch_b, p.k * p.n};
  g.y = p.y;
  return g;
}

}  // namespace

size_t matmul_workspace(const MatmulArgs& args) { return gemm_workspace(product_of(args)); }

cudaError_t matmul(const MatmulArgs& args, void* workspace, cudaStream_t stream) {
  return gemm(product_of(args), workspace, stream);
}

}  // namespace llmkit::cuda
