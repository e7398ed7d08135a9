#include "cpu/attention/attention.h"

#include <algorithm>

#include "base/parallel.h"
#include "base/scratch.h"
#include "cpu/attention/paged_heads.h"
#include "cpu/attention/widened_inputs.h"
#include "cpu/attention_bf16/attention_bf16.h"

namespace llmkit {
namespace {

/// Keys that a query sees at most.
size_t longest_range(const AttentionArgs& p) {
  int32_t longest = 0;
  for (size_t i = 0; i < p.B * p.T; ++i) longest = std::max(longest, p.last[i] - p.first[i] + 1);
  return static_cast<size_t>(longest);
}

/// What a tile task of these rows costs.
size_t work_of(const AttentionArgs& p, size_t rows) {
  return std::min(rows, kTaskRows) * longest_range(p) * p.E / 8;
}

}  // namespace

void attend(const AttentionArgs& args, const PagedHeads& pages, float* y, float* log_sum_exp) {
  const AttentionKernels& kernels = attention_kernels();
  const size_t rows = args.T * (args.H / args.K), tasks = (rows + kTaskRows - 1) / kTaskRows;
  parallel_for(pages.count() * tasks, grain_for(work_of(args, rows)),
               [&](size_t begin, size_t end) {
                 float* const memory = scratch(Scratch::kScores, kernels.scratch_size(args.E));
                 for (size_t i = begin; i < end; ++i) {
                   // The last rows see most under a causal mask: first come, threads end together.
                   const size_t head = pages.begin() + i / tasks;
                   const size_t at = (tasks - 1 - i % tasks) * kTaskRows;
                   const AttentionTask task = {head / args.K, head % args.K, at,
                                               std::min(at + kTaskRows, rows)};
                   kernels.forward(args, pages.of(head), task, y, log_sum_exp, memory);
                 }
               });
}

void attention(const AttentionArgs& args, const Elements& y, float* log_sum_exp) {
  if (args.rounded && has_attention_bf16()) return attention_bf16(args, y, log_sum_exp);
  const WidenedInputs inputs(args);
  const size_t size = args.B * args.T * args.H * args.E;
  std::vector<float> values(y.is_bf16 ? size : 0);
  float* const out = y.is_bf16 ? values.data() : y.floats();
  const size_t heads = args.B * args.K, step = PagedHeads::at_once(args, args.S);
  for (size_t first = 0; first < heads; first += step)
    attend(inputs.args, PagedHeads(inputs.args, first, std::min(first + step, heads), false), out,
           log_sum_exp);
  if (y.is_bf16) convert(size, out, y);
}

}  // namespace llmkit
