#include "cpu/attention/attention.h"

#include <algorithm>

#include "base/cpu_features.h"
#include "base/parallel.h"
#include "base/scratch.h"

namespace llmkit {
namespace {

const AttentionKernels& kernels() {
#define ATTENTION_KERNELS(isa, name) \
  if (runs_here(isa)) return name;
#include "cpu/attention/kernels.inc"
#undef ATTENTION_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

/// run(task) for pieces of `step` of the `count` rows or keys of every key/value head.
template <typename Run>
void each_piece(const AttentionArgs& p, size_t count, size_t step, size_t work, const Run& run) {
  const size_t pieces = (count + step - 1) / step;
  parallel_for(p.B * p.K * pieces, grain_for(work), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const size_t at = i % pieces * step;
      run(AttentionTask{i / pieces / p.K, i / pieces % p.K, at, std::min(at + step, count)});
    }
  });
}

/// Keys that a query sees at most.
size_t longest_range(const AttentionArgs& p) {
  int32_t longest = 0;
  for (size_t i = 0; i < p.B * p.T; ++i) longest = std::max(longest, p.last[i] - p.first[i] + 1);
  return static_cast<size_t>(longest);
}

}  // namespace

void attention(const AttentionArgs& args, float* y, float* log_sum_exp) {
  const size_t rows = args.T * (args.H / args.K);
  const size_t work = std::min(rows, kQueryRows) * longest_range(args) * args.E / 2;
  each_piece(args, rows, kQueryRows, work, [&](const AttentionTask& task) {
    float* const memory = scratch(Scratch::kScores, kQueryRows * (2 * args.S + 3 * args.E));
    kernels().forward(args, task, y, log_sum_exp, memory);
  });
}

void attention_grad(const AttentionArgs& args, const AttentionGradArgs& grad) {
  const size_t rows = args.T * (args.H / args.K), range = longest_range(args);
  const size_t work = std::min(rows, kQueryRows) * range * args.E;
  each_piece(args, rows, kQueryRows, work, [&](const AttentionTask& task) {
    float* const memory = scratch(Scratch::kScores, kQueryRows * (2 * args.S + 3 * args.E));
    kernels().grad_query(args, grad, task, memory);
  });
  each_piece(args, args.S, kGradKeys, kGradKeys * rows * args.E, [&](const AttentionTask& task) {
    float* const memory = scratch(Scratch::kScores, 3 * kGradRows * (args.E + kGradKeys));
    kernels().grad_keys(args, grad, task, memory);
  });
}

}  // namespace llmkit
