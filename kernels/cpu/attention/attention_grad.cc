#include <algorithm>
#include <vector>

#include "base/parallel.h"
#include "base/scratch.h"
#include "cpu/attention/attention.h"
#include "cpu/attention/paged_heads.h"
#include "cpu/attention/widened_inputs.h"
#include "cpu/attention_bf16/attention_bf16.h"

namespace llmkit {
namespace {

/// Queries whose gradient is made at a time: bounds the memory for parts of dq.
constexpr size_t kGradQueries = 256;
/// Parts that the gradient of all heads is cut into at least, for as many threads.
constexpr size_t kGradParts = 4;

/// Heads [first, last) and queries [begin, begin + T) of them, in `splits` parts each.
struct GradChunk {
  size_t first, last, begin, T, splits;
  std::vector<float> dq;  // [splits, heads, T, H / K · E]

  size_t heads() const { return last - first; }
};

/// Adds the parts up, the first one first, into dq.
void add_parts(const AttentionArgs& p, const GradChunk& chunk, float* dq) {
  const size_t row = p.H / p.K * p.E, size = chunk.heads() * chunk.T * row;
  parallel_for(chunk.heads() * chunk.T, grain_for(chunk.splits * row), [&](size_t from, size_t to) {
    for (size_t i = from; i < to; ++i) {
      const size_t head = chunk.first + i / chunk.T, t = chunk.begin + i % chunk.T;
      float* const y = dq + ((head / p.K * p.T + t) * p.K + head % p.K) * row;
      const float* const parts = chunk.dq.data() + i * row;
      for (size_t e = 0; e < row; ++e) {
        float sum = parts[e];
        for (size_t split = 1; split < chunk.splits; ++split) sum += parts[split * size + e];
        y[e] = sum;
      }
    }
  });
}

void grad_chunk(const AttentionArgs& args, const AttentionGradArgs& grad, const PagedHeads& pages,
                GradChunk& chunk) {
  const AttentionKernels& kernels = attention_kernels();
  const size_t group = args.H / args.K, rows = chunk.T * group, begin = chunk.begin * group;
  chunk.dq.resize(chunk.splits * chunk.heads() * rows * args.E);
  parallel_for(chunk.heads() * chunk.splits, 1, [&](size_t from, size_t to) {
    float* const memory = scratch(Scratch::kScores, kernels.scratch_size(args.E));
    for (size_t i = from; i < to; ++i) {
      const size_t head = chunk.first + i / chunk.splits, split = i % chunk.splits;
      float* const dq =
          chunk.dq.data() + (split * chunk.heads() + head - chunk.first) * rows * args.E;
      const AttentionTask task = {head / args.K, head % args.K, begin, begin + rows};
      kernels.grad(args, grad, pages.of(head), {task, split, chunk.splits, dq}, memory);
    }
  });
  add_parts(args, chunk, grad.dq);
}

}  // namespace

void attention_grad(const AttentionArgs& given, const AttentionGradArgs& given_grad) {
  if (given.rounded && has_attention_bf16()) return attention_grad_bf16(given, given_grad);
  const WidenedInputs inputs(given);
  const AttentionArgs& args = inputs.args;
  const WidenedArray y(given_grad.y, args.B * args.T * args.H * args.E);
  AttentionGradArgs grad = given_grad;
  grad.y = y.values();
  const size_t heads = args.B * args.K, step = PagedHeads::at_once(args, args.S);
  for (size_t first = 0; first < heads; first += step) {
    const size_t last = std::min(first + step, heads);
    const PagedHeads pages(args, first, last, true);
    const size_t splits = (kGradParts + heads - 1) / heads;  // by shape: the parts make the bits
    GradChunk chunk = {first, last, 0, 0, splits, {}};
    do {  // once even without queries: dk and dv are zeros then
      chunk.T = std::min(kGradQueries, args.T - chunk.begin);
      grad_chunk(args, grad, pages, chunk);
      chunk.begin += chunk.T;
    } while (chunk.begin < args.T);
  }
}

}  // namespace llmkit
