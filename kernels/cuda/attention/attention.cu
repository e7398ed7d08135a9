#include "cuda/attention/attention.h"
#include "cuda/attention/kernels.h"
#include "cuda/attention/workspace.h"

namespace llmkit::cuda {
namespace {

/// Query rows of a key/value head up to which keys are cut into parts for more blocks to have some.
constexpr size_t kFewRows = 32;

/// One call: what it needs besides its arguments, and the order of its kernels.
struct Plan {
  const AttentionArgs& args;
  AttentionParams p;
  bool by_groups, in_parts;
  Parts parts = {};
  RoundedRows keys = {}, values = {};  // where keys and values have to be rounded first
  bool rounds;

  /// `aligned`: all sequences start at key 0.
  Plan(const AttentionArgs& call, const AttentionParams& params, bool aligned, Workspace& workspace)
      : args(call), p(params) {
    const bool only_groups =
        has_group_kernels(args) && args.instructions == Instructions::kWarpgroups;
    in_parts = !only_groups && aligned && args.T * static_cast<size_t>(p.group) <= kFewRows &&
               p.S > kBlockKeys;
    by_groups = only_groups || (has_group_kernels(args) &&
                                args.instructions == Instructions::kEither && prefers_groups(p));
    // Of a cache, parts round what they read: it is written so that nothing in it spreads.
    const bool is_cache = p.keys.keys.pages != nullptr;
    const bool is_ready = is_cache && (p.keys.keys.type == KvType::kBf16 || in_parts);
    rounds = args.rounded && !is_ready;
    if (in_parts) {
      parts.blocks = (p.S + kBlockKeys - 1) / kBlockKeys;
      const size_t count = args.B * args.T * args.H * static_cast<size_t>(parts.blocks);
      parts.values = workspace.take<float>(count * args.E);
      parts.softmaxes = workspace.take<Softmax>(count);
    }
    if (!rounds) return;
    keys = values = {nullptr,     args.B, args.K, static_cast<size_t>(p.S), (args.E + 15) / 16 * 16,
                     p.positions, args.T, 1};
    keys.rows = workspace.take<bf16>(keys.bytes() / sizeof(bf16));
    values.rows = workspace.take<bf16>(values.bytes() / sizeof(bf16));
    values.only_finite = true;
    values.marked = keys.rows;
  }

  cudaError_t run(const Elements& y, float* log_sum_exp, cudaStream_t stream) {
    if (rounds) {
      cudaError_t error = round_rows(p.keys.keys, keys, stream);
      if (error == cudaSuccess) error = round_rows(p.keys.values, values, stream);
      if (error != cudaSuccess) return error;
      p.keys = {keys.view(), values.view()};
    }
    if (in_parts) {
      const auto make_parts = args.rounded ? rounded_parts : exact_parts;
      const cudaError_t error = make_parts(p, parts, args.B, args.K, stream);
      if (error != cudaSuccess) return error;
      return combine_parts(p, parts, args.B, args.rounded, y, log_sum_exp, stream);
    }
    if (by_groups) return attend_by_groups(p, args.B, args.K, y, log_sum_exp, stream);
    if (args.rounded) return attend_rounded(p, args.B, args.K, y, log_sum_exp, stream);
    return attend_exact(p, args.B, args.K, y.floats(), log_sum_exp, stream);
  }
};

/// Without a cache: a sequence may start anywhere in a row of the batch.
AttentionParams params_of(const AttentionArgs& args, Workspace& workspace, int32_t** starts) {
  AttentionParams p = attention_params(args, {tensor_rows(args.k, args.S, args.K, args.E),
                                              tensor_rows(args.v, args.S, args.K, args.E)});
  *starts = args.T > 1 ? workspace.take<int32_t>(args.B * args.T) : nullptr;
  p.starts = *starts;
  return p;
}

/// In a cache: `turned` is where q goes as it is turned.
AttentionParams params_of(const AttentionArgs& args, const CacheStep* step, const CachePages& pages,
                          Workspace& workspace, float** turned) {
  AttentionParams p =
      attention_params(args, paged_rows(pages.layout, pages.table, pages.pages_per_row));
  p.S = static_cast<int>(pages.most_keys);
  *turned = workspace.take<float>(args.B * args.T * args.H * args.E);
  if (step == nullptr) return p;
  p.positions = step->positions;
  if (step->cos != nullptr) p.q = *turned;
  return p;
}

}  // namespace

size_t attention_workspace(const AttentionArgs& args) {
  Workspace workspace(nullptr);
  int32_t* starts;
  const AttentionParams p = params_of(args, workspace, &starts);
  const Plan plan(args, p, args.T <= 1, workspace);
  return workspace.used();
}

cudaError_t attention(const AttentionArgs& args, const Elements& y, float* log_sum_exp,
                      void* memory, cudaStream_t stream) {
  const bool is_held = args.q.is_bf16 || args.k.is_bf16 || args.v.is_bf16 || y.is_bf16;
  if (is_held && !args.rounded) return cudaErrorInvalidValue;
  Workspace workspace(memory);
  int32_t* starts;
  const AttentionParams p = params_of(args, workspace, &starts);
  Plan plan(args, p, args.T <= 1, workspace);
  if (starts != nullptr) {
    const cudaError_t error = find_starts(args.first, args.last, args.B, args.T, starts, stream);
    if (error != cudaSuccess) return error;
  }
  return plan.run(y, log_sum_exp, stream);
}

size_t cached_attention_workspace(const AttentionArgs& args, const CachePages& pages) {
  Workspace workspace(nullptr);
  float* turned;
  const AttentionParams p = params_of(args, nullptr, pages, workspace, &turned);
  const Plan plan(args, p, true, workspace);
  return workspace.used();
}

cudaError_t cached_attention(const AttentionArgs& args, const CacheStep& step,
                             const CachePages& pages, float* y, void* memory, cudaStream_t stream) {
  Workspace workspace(memory);
  float* turned;
  const AttentionParams p = params_of(args, &step, pages, workspace, &turned);
  Plan plan(args, p, true, workspace);
  const cudaError_t error = append_keys(args, step, pages, turned, stream);
  if (error != cudaSuccess) return error;
  return plan.run(y, nullptr, stream);
}

}  // namespace llmkit::cuda
