#include "cuda/attention/attention.h"
#include "cuda/attention/grad_kernels.h"
#include "cuda/attention/kernels.h"
#include "cuda/attention/workspace.h"
#include "cuda/base/launch.h"
#include "cuda/base/reduce.h"

namespace llmkit::cuda {
namespace {

using OneWarp = Team<kWarp>;

__global__ void along_kernel(const float* dy, const float* y, size_t rows, int E, float* along) {
  const size_t row = OneWarp::row();
  if (row >= rows) return;
  float sum = 0;
  for (int e = OneWarp::rank(); e < E; e += kWarp) sum = fmaf(dy[row * E + e], y[row * E + e], sum);
  sum = OneWarp::sum(sum);
  if (OneWarp::rank() == 0) along[row] = sum;
}

/// What the gradient needs of the workspace.
struct GradPlan {
  const AttentionArgs& args;
  float* along;
  RoundedRows q = {}, dy = {}, keys = {}, values = {};

  GradPlan(const AttentionArgs& call, Workspace& workspace)
      : args(call), along(workspace.take<float>(args.B * args.T * args.H)) {
    if (!args.rounded) return;
    const size_t width = (args.E + 15) / 16 * 16;
    for (RoundedRows* rows : {&q, &dy}) {
      *rows = {nullptr, args.B, args.H, args.T, width, nullptr, 0, 1};
      rows->rows = workspace.take<bf16>(rows->bytes() / sizeof(bf16));
    }
    for (RoundedRows* rows : {&keys, &values}) {
      *rows = {nullptr, args.B, args.K, args.S, width, nullptr, 0, 1};
      rows->rows = workspace.take<bf16>(rows->bytes() / sizeof(bf16));
    }
  }

  /// The rows of a key/value head, by_head, lie one after the other.
  KeyRows queries(const RoundedRows& rows) const {
    return bf16_rows(rows.rows, args.K, args.H / args.K * args.T, rows.width);
  }
  cudaError_t round(const AttentionGradArgs& grad, cudaStream_t stream) const {
    const struct {
      const float* from;
      const RoundedRows& to;
    } all[] = {{args.q, q}, {grad.dy, dy}, {args.k, keys}, {args.v, values}};
    for (const auto& [from, to] : all) {
      const cudaError_t error =
          round_rows(tensor_rows(from, to.count, to.heads, args.E), to, stream);
      if (error != cudaSuccess) return error;
    }
    return cudaSuccess;
  }
};

}  // namespace

cudaError_t rows_along(const float* dy, const float* y, size_t rows, size_t E, float* along,
                       cudaStream_t stream) {
  return launch(along_kernel, OneWarp::over(rows, stream), dy, y, rows, static_cast<int>(E), along);
}

size_t attention_grad_workspace(const AttentionArgs& args) {
  Workspace workspace(nullptr);
  const GradPlan plan(args, workspace);
  return workspace.used();
}

cudaError_t attention_grad(const AttentionArgs& args, const AttentionGradArgs& grad, void* memory,
                           cudaStream_t stream) {
  Workspace workspace(memory);
  const GradPlan plan(args, workspace);
  cudaError_t error =
      rows_along(grad.dy, grad.y, args.B * args.T * args.H, args.E, plan.along, stream);
  if (error != cudaSuccess) return error;
  GradParams g = {attention_params(args, {tensor_rows(args.k, args.S, args.K, args.E),
                                          tensor_rows(args.v, args.S, args.K, args.E)}),
                  grad.log_sum_exp,
                  plan.along,
                  grad.dy,
                  grad.dq,
                  grad.dk,
                  grad.dv};
  g.p.by_head = true;
  if (!args.rounded) return exact_grad(g, args.B, args.K, stream);
  error = plan.round(grad, stream);
  if (error != cudaSuccess) return error;
  g.p.keys = {plan.keys.view(), plan.values.view()};
  return rounded_grad({g, plan.queries(plan.q), plan.queries(plan.dy)}, args.B, args.K, stream);
}

}  // namespace llmkit::cuda
