#include <algorithm>
#include <cstring>

#include "cpu/adamw/adamw.h"
#include "cpu/cross_entropy/cross_entropy.h"
#include "cpu/rounded/rounded.h"
#include "tensorflow/names.h"
#include "tensorflow/op.h"

namespace llmkit::tensorflow {
namespace {

/// The number of a weight that is trained: it comes as an input.
constexpr int64_t kTrained = -1;

/// An input that is a matrix.
FloatMatrix matrix(Call& call, int index) {
  const Input<const float> values = call.floats(index);
  if (values.shape.size() != 2) throw OpError("the weight must be a matrix");
  const auto rows = static_cast<size_t>(values.shape[0]);
  const auto cols = static_cast<size_t>(values.shape[1]);
  return {values.data, rows, cols, cols};
}

/// y [..., rows] = x [..., cols] · weightᵀ + bias of a trained weight, in bf16
struct RoundedLinear {
  explicit RoundedLinear(const Attributes&) {}

  void operator()(Call& call) const {
    const Input<const float> x = call.floats(0);
    const FloatMatrix weight = matrix(call, 1);
    const size_t m = quotient(x.size, weight.cols, "x");
    const float* const bias = call.optional_floats(2, weight.rows, "bias");
    rounded_linear(weight, m, x.data, bias, call.output(0, with_last(x.shape, weight.rows)));
  }
};

/// dx [..., cols] = dy [..., rows] · weight
struct RoundedLinearGradInput {
  explicit RoundedLinearGradInput(const Attributes&) {}

  void operator()(Call& call) const {
    const Input<const float> dy = call.floats(0);
    const FloatMatrix weight = matrix(call, 1);
    const size_t m = quotient(dy.size, weight.rows, "dy");
    rounded_grad_input(weight, m, dy.data, call.output(0, with_last(dy.shape, weight.cols)));
  }
};

/// dweight [rows, cols] = dyᵀ · x, of dy [..., rows] and x [..., cols]
struct RoundedLinearGradWeight {
  explicit RoundedLinearGradWeight(const Attributes&) {}

  void operator()(Call& call) const {
    const Input<const float> dy = call.floats(0), x = call.floats(1);
    if (dy.shape.empty() || x.shape.empty()) throw OpError("dy and x must have an axis");
    const int64_t rows = dy.shape.back(), cols = x.shape.back();
    const auto dy_cols = static_cast<size_t>(rows), x_cols = static_cast<size_t>(cols);
    const size_t m = quotient(x.size, x_cols, "x");
    expect(dy.size, m * dy_cols, "dy");
    rounded_grad_weight({dy.data, m, dy_cols, dy_cols}, {x.data, m, x_cols, x_cols},
                        call.output(0, {rows, cols}));
  }
};

/// Inputs h [M, cols], targets [M], the weight if it is trained, bias.
struct CrossEntropyOp {
  explicit CrossEntropyOp(const Attributes& attributes)
      : weight(attributes.integer("weight")), rounded(attributes.flag("rounded")) {}

  CrossEntropyArgs arguments(Call& call) const {
    const Input<const float> h = call.floats(0);
    const auto [view, packed] = weight == kTrained ? trained(call) : named_weight(weight);
    CrossEntropyArgs p;
    p.m = quotient(h.size, view.cols, "h");
    p.h = h.data;
    p.weight = view;
    p.packed = packed;
    p.bias = call.optional_floats(3, view.rows, "bias");
    p.targets = call.ints(1, p.m, "targets");
    for (size_t i = 0; i < p.m; ++i)
      if (p.targets[i] < -1 || p.targets[i] >= static_cast<int64_t>(view.rows))
        throw OpError("target " + std::to_string(p.targets[i]) + " is not -1 or below " +
                      std::to_string(view.rows));
    return p;
  }

  static Matrix trained(Call& call) {
    const FloatMatrix values = matrix(call, 2);
    return {dense_view(values.values, values.rows, values.cols), nullptr};
  }

  /// A trained weight rounded and packed, where its products are in bf16; else empty.
  PackedWeight rounded_head(Call& call) const {
    return rounded && weight == kTrained ? rounded_rows(matrix(call, 2)) : PackedWeight{};
  }

  int64_t weight;
  bool rounded;
};

struct CrossEntropy : CrossEntropyOp {
  using CrossEntropyOp::CrossEntropyOp;

  void operator()(Call& call) const {
    CrossEntropyArgs p = arguments(call);
    const PackedWeight head = rounded_head(call);
    if (head.data != nullptr) p.packed = &head;
    const Shape shape = {static_cast<int64_t>(p.m)};
    float* const losses = call.output(0, shape);
    cross_entropy(p, losses, call.output(1, shape));
  }
};

/// dh; dweight of a trained weight and dbias of a bias, else empty.
struct CrossEntropyGrad : CrossEntropyOp {
  using CrossEntropyOp::CrossEntropyOp;

  void operator()(Call& call) const {
    CrossEntropyArgs p = arguments(call);
    const PackedWeight head = rounded_head(call);
    if (head.data != nullptr) p.packed = &head;
    const auto cols = static_cast<int64_t>(p.weight.cols);
    const auto words = static_cast<int64_t>(p.weight.rows);
    CrossEntropyGradArgs grad;
    grad.log_sum_exp = call.floats(4, p.m, "logSumExp");
    grad.dlosses = call.floats(5, p.m, "dlosses");
    grad.dh = call.output(0, {static_cast<int64_t>(p.m), cols});
    const bool trained = weight == kTrained, biased = p.bias != nullptr;
    float* const dweight = call.output(1, trained ? Shape{words, cols} : Shape{0});
    float* const dbias = call.output(2, biased ? Shape{words} : Shape{0});
    grad.dweight = trained ? dweight : nullptr;
    grad.dbias = biased ? dbias : nullptr;
    cross_entropy_grad(p, grad);
  }
};

/// Inputs parameter, gradient, m, v, and AdamwHyper as pairs of int32; outputs parameter, m and v
/// of the next step. They change each step: as attributes they would make a kernel each step.
struct Adamw {
  explicit Adamw(const Attributes&) {}

  void operator()(Call& call) const {
    const Input<const float> parameter = call.floats(0);
    const size_t n = parameter.size;
    AdamwHyper hyper;
    constexpr size_t kWords = sizeof hyper / sizeof(int32_t);
    std::memcpy(&hyper, call.ints(4, kWords, "hyper"), sizeof hyper);
    const auto next = [&](int output, const float* values) {
      float* const copy = call.output(output, parameter.shape);
      std::copy_n(values, n, copy);
      return copy;
    };
    const float* const gradient = call.floats(1, n, "gradient");
    float* const updated = next(0, parameter.data);
    float* const m = next(1, call.floats(2, n, "m"));
    adamw(n, {updated, gradient, m, next(2, call.floats(3, n, "v"))}, hyper);
  }
};

}  // namespace

void register_training_ops() {
  register_op<CrossEntropy>({"LlmkitCrossEntropy",
                             {"h: float", "targets: int32", "trained: float", "bias: float"},
                             {"losses: float", "lse: float"},
                             {"weight: int", "rounded: bool"}});
  register_op<CrossEntropyGrad>({"LlmkitCrossEntropyGrad",
                                 {"h: float", "targets: int32", "trained: float", "bias: float",
                                  "lse: float", "dlosses: float"},
                                 {"dh: float", "dweight: float", "dbias: float"},
                                 {"weight: int", "rounded: bool"}});
  register_op<RoundedLinear>(
      {"LlmkitRoundedLinear", {"x: float", "weight: float", "bias: float"}, {"y: float"}, {}});
  register_op<RoundedLinearGradInput>(
      {"LlmkitRoundedLinearGradInput", {"dy: float", "weight: float"}, {"dx: float"}, {}});
  register_op<RoundedLinearGradWeight>(
      {"LlmkitRoundedLinearGradWeight", {"dy: float", "x: float"}, {"dweight: float"}, {}});
  register_op<Adamw>(
      {"LlmkitAdamW",
       {"parameter: float", "gradient: float", "m: float", "v: float", "hyper: int32"},
       {"next_parameter: float", "next_m: float", "next_v: float"},
       {}});
}

}  // namespace llmkit::tensorflow
