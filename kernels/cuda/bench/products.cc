#include <algorithm>

#include "cuda/bench/work.h"
#include "cuda/linear/linear.h"
#include "cuda/lora_linear/lora_linear.h"
#include "cuda/rounded/rounded.h"

// Products in float32, those of weights that are trained, and what LoRA adds.

namespace llmkit::cuda::bench {
namespace {

struct Sizes {
  size_t m, rows, cols;
};

Sizes dry_sizes(const Sizes& s) { return {std::min<size_t>(s.m, 70), 160, 192}; }

std::string title(const char* op, const Sizes& s) {
  return std::string(op) + " " + std::to_string(s.rows) + "x" + std::to_string(s.cols) +
         ", M=" + std::to_string(s.m);
}

double operations(const Sizes& s) { return 2.0 * static_cast<double>(s.m * s.rows * s.cols); }

/// A work of these sizes; `open` makes its call.
template <class Open>
Work work_of(const char* op, const Sizes& sizes, Bound bound, double amount, const Open& open) {
  return {title(op, sizes), bound, amount,
          [=](bool dry) -> Call { return open(dry ? dry_sizes(sizes) : sizes); }};
}

/// A product in bf16 of two arrays of float32: its arguments, and the functions that take them.
template <class Args, class Left, class Right, class Result>
struct Product {
  Left Args::*left;
  Right Args::*right;
  Result Args::*result;
  size_t (*workspace_of)(const Args&);
  cudaError_t (*multiply)(const Args&, void*, cudaStream_t);
};

/// Elements of the three arrays of a product.
struct Counts {
  size_t left, right, result;
};

template <class Args, class Left, class Right, class Result>
Call open_product(const Product<Args, Left, Right, Result>& product, const Sizes& s,
                  const Counts& counts) {
  const MemoryPointer left = random_floats(counts.left), right = random_floats(counts.right);
  const MemoryPointer result = empty_memory(counts.result * sizeof(float));
  Args args;
  args.m = s.m;
  args.rows = s.rows;
  args.cols = s.cols;
  const MemoryPointer workspace = empty_memory(product.workspace_of(args));
  return [=](size_t, cudaStream_t stream) {
    Args now = args;
    now.*product.left = left->template as<float>();
    now.*product.right = right->template as<float>();
    now.*product.result = result->template as<float>();
    expect(product.multiply(now, workspace->template as<void>(), stream), "rounded product");
  };
}

Call open_rounded(const Sizes& s) {
  using Args = RoundedLinearArgs;
  const Product<Args, ConstElements, const float*, Elements> product = {
      &Args::x, &Args::weight, &Args::y, rounded_linear_workspace, rounded_linear};
  return open_product(product, s, {s.m * s.cols, s.rows * s.cols, s.m * s.rows});
}

Call open_rounded_input(const Sizes& s) {
  using Args = RoundedGradInputArgs;
  const Product<Args, const float*, const float*, float*> product = {
      &Args::dy, &Args::weight, &Args::dx, rounded_grad_input_workspace, rounded_grad_input};
  return open_product(product, s, {s.m * s.rows, s.rows * s.cols, s.m * s.cols});
}

Call open_rounded_weight(const Sizes& s) {
  using Args = RoundedGradWeightArgs;
  const Product<Args, const float*, ConstElements, float*> product = {
      &Args::dy, &Args::x, &Args::dweight, rounded_grad_weight_workspace, rounded_grad_weight};
  return open_product(product, s, {s.m * s.rows, s.m * s.cols, s.rows * s.cols});
}

Call open_linear(const Sizes& s) {
  const MemoryPointer x = random_floats(s.m * s.cols), weight = random_floats(s.rows * s.cols);
  const MemoryPointer y = empty_memory(s.m * s.rows * sizeof(float));
  LinearArgs args;
  args.weight = dense_view(weight->as<float>(), s.rows, s.cols);
  args.m = s.m;
  const MemoryPointer workspace = empty_memory(linear_workspace(args) + 1);
  return [=](size_t, cudaStream_t stream) {
    LinearArgs now = args;
    now.weight = dense_view(weight->as<float>(), s.rows, s.cols);
    now.x = x->as<float>();
    now.y = y->as<float>();
    expect(linear(now, workspace->as<void>(), stream), "linear");
  };
}

constexpr size_t kRank = 16;

/// The pair beside a weight of no rows: what LoRA's first factor costs.
Call open_low(const Sizes& s) {
  const MemoryPointer x = random_floats(s.m * s.cols), a = random_floats(kRank * s.cols);
  const MemoryPointer low = empty_memory(s.m * kRank * sizeof(float));
  LoraWeight weight;
  weight.weight = dense_view(nullptr, 0, s.cols);
  weight.rank = kRank;
  LoraArgs args = {};
  args.m = s.m;
  const MemoryPointer workspace = empty_memory(lora_linear_workspace(weight, args) + 1);
  return [=](size_t, cudaStream_t stream) {
    LoraWeight pair = weight;
    pair.a = a->as<float>();
    LoraArgs now = args;
    now.x = now.dropped = x->as<float>();
    now.low = low->as<float>();
    expect(lora_linear(pair, now, workspace->as<void>(), stream), "lora_linear");
  };
}

}  // namespace

std::vector<Work> product_works() {
  std::vector<Work> works;
  for (const Sizes& s : {Sizes{4096, 4096, 4096}, Sizes{4096, 14336, 4096}}) {
    works.push_back(work_of("rounded linear", s, Bound::kMatrix, operations(s), open_rounded));
    works.push_back(work_of("rounded dX", s, Bound::kMatrix, operations(s), open_rounded_input));
    works.push_back(work_of("rounded dW", s, Bound::kMatrix, operations(s), open_rounded_weight));
    works.push_back(work_of("low = x·Aᵀ, rank 16, of", s, Bound::kCopy,
                            static_cast<double>(s.m * s.cols * sizeof(float)), open_low));
  }
  const Sizes large = {1, 14336, 14336};  // no cache holds its weight
  works.push_back(work_of("linear f32", large, Bound::kCopy,
                          static_cast<double>(large.rows * large.cols * sizeof(float)),
                          open_linear));
  works.push_back(work_of("linear f32", {4096, 4096, 4096}, Bound::kNone, 1, open_linear));
  return works;
}

}  // namespace llmkit::cuda::bench
