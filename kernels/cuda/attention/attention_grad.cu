#include "cuda/attention/attention.h"
#include "cuda/attention/grad_kernels.h"
#include "cuda/attention/kernels.h"
#include "cuda/attention/workspace.h"
#include "cuda/base/launch.h"
#include "cuda/base/reduce.h"

namespace llmkit::cuda {
namespace {

using OneWarp = Team<kWarp>;

/// A warp for each query and head: its GradRow. Rounded, one whose q or dy bf16 cannot hold gets
/// NaN for its scores, so that all its weights are NaN.
__global__ void grad_rows_kernel(AttentionParams p, AttentionGradArgs grad, bool rounded,
                                 size_t count, GradRow* rows) {
  const size_t query = OneWarp::row();
  if (query >= count) return;
  float along = 0;
  bool finite = true;
  for (size_t i = query * p.E + OneWarp::rank(); i < (query + 1) * p.E; i += kWarp) {
    along = fmaf(grad.dy[i], load_element(grad.y, i), along);
    finite &= is_finite_bf16(grad.dy[i]) && is_finite_bf16(load_element(p.q, i));
  }
  along = OneWarp::sum(along);
  finite = __all_sync(kAllLanes, finite);
  if (OneWarp::rank() != 0) return;
  const size_t position = query / p.H, head = query % p.H, t = position % p.T;
  const size_t row = (position / p.T * p.H + head) * p.T + t;  // by_head
  rows[row] = {max(p.first[position], 0), min(p.last[position], p.S - 1),
               rounded && !finite ? NAN : grad.log_sum_exp[query], along};
}

/// What the gradient needs of the workspace.
struct GradPlan {
  const AttentionArgs& args;
  GradRow* rows;
  RoundedRows q = {}, dy = {}, keys = {}, values = {};

  GradPlan(const AttentionArgs& call, Workspace& workspace)
      : args(call), rows(workspace.take<GradRow>(query_rows())) {
    if (!args.rounded) return;
    const size_t width = (args.E + 15) / 16 * 16;
    for (RoundedRows* rows : {&q, &dy}) {
      *rows = {nullptr, args.B, args.H, args.T, width, nullptr, 0, 1, true};
      rows->rows = workspace.take<bf16>(rows->bytes() / sizeof(bf16));
    }
    for (RoundedRows* rows : {&keys, &values}) {
      *rows = {nullptr, args.B, args.K, args.S, width, nullptr, 0, 1};
      rows->rows = workspace.take<bf16>(rows->bytes() / sizeof(bf16));
    }
  }

  size_t query_rows() const { return args.B * args.T * args.H; }

  cudaError_t make_rows(const AttentionParams& p, const AttentionGradArgs& grad,
                        cudaStream_t stream) const {
    return launch(grad_rows_kernel, OneWarp::over(query_rows(), stream), p, grad, args.rounded,
                  query_rows(), rows);
  }
  cudaError_t round(const ConstElements& from, const RoundedRows& to, cudaStream_t stream) const {
    return round_rows(tensor_rows(from, to.count, to.heads, args.E), to, stream);
  }
  /// The rows of a key/value head, by_head, lie one after the other.
  KeyRows queries(const RoundedRows& rows) const {
    return bf16_rows(rows.rows, args.K, args.H / args.K * args.T, rows.width);
  }

  cudaError_t run_rounded(GradParams g, cudaStream_t stream) const {
    const struct {
      ConstElements from;
      const RoundedRows& to;
    } all[] = {{args.q, q}, {g.dy, dy}, {args.k, keys}, {args.v, values}};
    for (const auto& [from, to] : all) {
      const cudaError_t error = round(from, to, stream);
      if (error != cudaSuccess) return error;
    }
    g.p.keys = {keys.view(), values.view()};
    const RoundedGrad grad = {g, queries(q), queries(dy)};
    const bool by_groups = has_group_kernels(args) && has_warpgroups();
    const auto grad_keys = by_groups ? grad_keys_by_groups : rounded_grad_keys;
    const auto grad_queries = by_groups ? grad_queries_by_groups : rounded_grad_queries;
    cudaError_t error = grad_keys(grad, args.B, args.K, stream);
    if (error != cudaSuccess) return error;
    // Weights multiply keys only from here on: until now these made scores, as in the forward pass.
    RoundedRows finite = keys;
    finite.only_finite = true;
    finite.marked = values.rows;
    error = round(args.k, finite, stream);
    if (error != cudaSuccess) return error;
    return grad_queries(grad, args.B, args.K, stream);
  }
};

}  // namespace

size_t attention_grad_workspace(const AttentionArgs& args) {
  Workspace workspace(nullptr);
  const GradPlan plan(args, workspace);
  return workspace.used();
}

cudaError_t attention_grad(const AttentionArgs& args, const AttentionGradArgs& grad, void* memory,
                           cudaStream_t stream) {
  Workspace workspace(memory);
  const GradPlan plan(args, workspace);
  AttentionParams p = attention_params(args, {tensor_rows(args.k, args.S, args.K, args.E),
                                              tensor_rows(args.v, args.S, args.K, args.E)});
  p.by_head = true;
  const cudaError_t error = plan.make_rows(p, grad, stream);
  if (error != cudaSuccess) return error;
  const GradParams g = {p, plan.rows, grad.dy, grad.dq, grad.dk, grad.dv};
  return args.rounded ? plan.run_rounded(g, stream) : exact_grad(g, args.B, args.K, stream);
}

}  // namespace llmkit::cuda
