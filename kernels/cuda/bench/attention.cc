#include "cuda/attention/attention.h"

#include <algorithm>

#include "cuda/bench/work.h"

namespace llmkit::cuda::bench {
namespace {

constexpr size_t kTokens = 4096, kHeads = 32, kKeyHeads = 8, kHeadSize = 128;

/// What causal attention of one sequence reads and writes.
struct Task {
  AttentionArgs args = {};
  std::vector<MemoryPointer> memory;
  float *y, *log_sum_exp;

  explicit Task(size_t tokens) {
    args.B = 1;
    args.T = args.S = tokens;
    args.H = kHeads;
    args.K = kKeyHeads;
    args.E = kHeadSize;
    const size_t queries = tokens * kHeads * kHeadSize, keys = tokens * kKeyHeads * kHeadSize;
    args.q = keep(random_floats(queries))->as<float>();
    args.k = keep(random_floats(keys))->as<float>();
    args.v = keep(random_floats(keys))->as<float>();
    std::vector<int32_t> first(tokens, 0), last(tokens);
    for (size_t i = 0; i < tokens; ++i) last[i] = static_cast<int32_t>(i);
    args.first = keep(copy_of(first.data(), tokens * sizeof(int32_t)))->as<int32_t>();
    args.last = keep(copy_of(last.data(), tokens * sizeof(int32_t)))->as<int32_t>();
    args.scale = 0.08838835f;
    args.rounded = true;
    args.instructions = invariant_instructions();
    y = keep(empty_memory(queries * sizeof(float)))->as<float>();
    log_sum_exp = keep(empty_memory(tokens * kHeads * sizeof(float)))->as<float>();
  }

  const MemoryPointer& keep(MemoryPointer one) {
    memory.push_back(std::move(one));
    return memory.back();
  }
};

Call open_forward(Instructions instructions, bool dry) {
  const auto task = std::make_shared<Task>(dry ? 70 : kTokens);
  task->args.instructions = instructions;
  const MemoryPointer workspace = empty_memory(attention_workspace(task->args) + 1);
  return [=](size_t, cudaStream_t stream) {
    expect(attention(task->args, task->y, task->log_sum_exp, workspace->as<void>(), stream),
           "attention");
  };
}

Call open_backward(bool dry) {
  const auto task = std::make_shared<Task>(dry ? 70 : kTokens);
  const size_t tokens = task->args.T;
  const size_t queries = tokens * kHeads * kHeadSize, keys = tokens * kKeyHeads * kHeadSize;
  AttentionGradArgs grad;
  grad.y = task->y;
  grad.log_sum_exp = task->log_sum_exp;
  grad.dy = task->keep(random_floats(queries))->as<float>();
  grad.dq = task->keep(empty_memory(queries * sizeof(float)))->as<float>();
  grad.dk = task->keep(empty_memory(keys * sizeof(float)))->as<float>();
  grad.dv = task->keep(empty_memory(keys * sizeof(float)))->as<float>();
  const size_t bytes =
      std::max(attention_workspace(task->args), attention_grad_workspace(task->args));
  const MemoryPointer workspace = empty_memory(bytes + 1);
  expect(attention(task->args, task->y, task->log_sum_exp, workspace->as<void>(), nullptr),
         "attention");
  expect(cudaDeviceSynchronize(), "attention");
  return [=](size_t, cudaStream_t stream) {
    expect(attention_grad(task->args, grad, workspace->as<void>(), stream), "attentionGrad");
  };
}

}  // namespace

std::vector<Work> attention_works() {
  // Two products of the forward pass, five of the backward one; a causal mask leaves half.
  const double product = 2.0 * kTokens * kTokens * kHeads * kHeadSize / 2;
  const std::string sizes = " 4096 tokens, 32/8 heads of 128, causal";
  std::vector<Work> works;
  for (const Timed& timed : timed_instructions())
    works.push_back({"attention" + sizes + timed.ending, Bound::kMatrix, 2 * product,
                     [=](bool dry) { return open_forward(timed.instructions, dry); }});
  works.push_back({"attention's gradient" + sizes, Bound::kMatrix, 5 * product, open_backward});
  return works;
}

}  // namespace llmkit::cuda::bench
