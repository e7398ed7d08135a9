#include "cpu/attention/attention.h"

#include <algorithm>

#include "base/parallel.h"
#include "base/scratch.h"
#include "cpu/attention/paged_heads.h"

namespace llmkit {
namespace {

/// Keys that a query sees at most.
size_t longest_range(const AttentionArgs& p) {
  int32_t longest = 0;
  for (size_t i = 0; i < p.B * p.T; ++i) longest = std::max(longest, p.last[i] - p.first[i] + 1);
  return static_cast<size_t>(longest);
}

/// Queries a sequence up to which keys are read where they lie: packing them would cost more.
constexpr size_t kDecodeQueries = 4;

/// Cuts the keys of each query into blocks, so that all threads read them.
void decode(const AttentionArgs& args, float* y, float* log_sum_exp) {
  const AttentionKernels& kernels = attention_kernels();
  const size_t group = args.H / args.K, queries = args.B * args.T * args.K;
  const size_t blocks = std::max<size_t>((longest_range(args) + kKeyBlock - 1) / kKeyBlock, 1);
  const size_t part = group * (args.E + 2), work = kKeyBlock * (group + 4) * args.E / 4;
  float* const parts = scratch(Scratch::kPages, queries * blocks * part);
  const auto task_of = [&](size_t query, size_t block) {
    return DecodeTask{query / args.K / args.T, query / args.K % args.T, query % args.K, block};
  };
  parallel_for(queries * blocks, grain_for(work), [&](size_t begin, size_t end) {
    float* const memory = scratch(Scratch::kScores, group * (args.E + kKeyBlock));
    for (size_t i = begin; i < end; ++i)
      kernels.decode_block(args, task_of(i / blocks, i % blocks), parts + i * part, memory);
  });
  parallel_for(queries, grain_for(2 * blocks * part), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i)
      kernels.decode_finish(args, task_of(i, 0), parts + i * blocks * part, part, y, log_sum_exp);
  });
}

}  // namespace

void attention(const AttentionArgs& args, float* y, float* log_sum_exp) {
  if (args.T <= kDecodeQueries) return decode(args, y, log_sum_exp);
  const AttentionKernels& kernels = attention_kernels();
  const size_t rows = args.T * (args.H / args.K), heads = args.B * args.K;
  const size_t tasks = (rows + kTaskRows - 1) / kTaskRows, step = PagedHeads::at_once(args);
  const size_t work = std::min(rows, kTaskRows) * longest_range(args) * args.E / 8;
  for (size_t first = 0; first < heads; first += step) {
    const size_t last = std::min(first + step, heads);
    const PagedHeads pages(args, first, last, false);
    parallel_for((last - first) * tasks, grain_for(work), [&](size_t begin, size_t end) {
      float* const memory = scratch(Scratch::kScores, kernels.scratch_size(args.E));
      for (size_t i = begin; i < end; ++i) {
        // The last rows see most under a causal mask: first come, threads end together.
        const size_t head = first + i / tasks, at = (tasks - 1 - i % tasks) * kTaskRows;
        const AttentionTask task = {head / args.K, head % args.K, at,
                                    std::min(at + kTaskRows, rows)};
        kernels.forward(args, pages.of(head), task, y, log_sum_exp, memory);
      }
    });
  }
}

}  // namespace llmkit
