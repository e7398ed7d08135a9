#include <algorithm>
#include <cstring>

#include "cpu/adamw/adamw.h"
#include "cpu/cross_entropy/cross_entropy.h"
#include "tensorflow/names.h"
#include "tensorflow/op.h"

namespace llmkit::tensorflow {
namespace {

/// The number of a weight that is trained: it comes as an input.
constexpr int64_t kTrained = -1;

/// Inputs h [M, cols], targets [M], the weight if it is trained, bias.
struct CrossEntropyOp {
  explicit CrossEntropyOp(const Attributes& attributes) : weight(attributes.integer("weight")) {}

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
    const Input<const float> values = call.floats(2);
    if (values.shape.size() != 2) throw OpError("the weight must be a matrix");
    const auto rows = static_cast<size_t>(values.shape[0]);
    return {dense_view(values.data, rows, static_cast<size_t>(values.shape[1])), nullptr};
  }

  int64_t weight;
};

struct CrossEntropy : CrossEntropyOp {
  using CrossEntropyOp::CrossEntropyOp;

  void operator()(Call& call) const {
    const CrossEntropyArgs p = arguments(call);
    const Shape shape = {static_cast<int64_t>(p.m)};
    float* const losses = call.output(0, shape);
    cross_entropy(p, losses, call.output(1, shape));
  }
};

/// dh; dweight of a trained weight and dbias of a bias, else empty.
struct CrossEntropyGrad : CrossEntropyOp {
  using CrossEntropyOp::CrossEntropyOp;

  void operator()(Call& call) const {
    const CrossEntropyArgs p = arguments(call);
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
                             {"weight: int"}});
  register_op<CrossEntropyGrad>({"LlmkitCrossEntropyGrad",
                                 {"h: float", "targets: int32", "trained: float", "bias: float",
                                  "lse: float", "dlosses: float"},
                                 {"dh: float", "dweight: float", "dbias: float"},
                                 {"weight: int"}});
  register_op<Adamw>(
      {"LlmkitAdamW",
       {"parameter: float", "gradient: float", "m: float", "v: float", "hyper: int32"},
       {"next_parameter: float", "next_m: float", "next_v: float"},
       {}});
}

}  // namespace llmkit::tensorflow
