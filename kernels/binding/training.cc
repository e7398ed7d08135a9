#include <string>
#include <vector>

#include "binding/recording.h"
#include "binding/training_arguments.h"
#include "cpu/cross_entropy/cross_entropy.h"
#include "cpu/rounded/rounded.h"

namespace llmkit::binding {
namespace {

/// A float32 weight [rows, cols] that is trained.
FloatMatrix trained_weight(const Arguments& args, size_t index, size_t cols) {
  const Floats values = args.floats(index);
  return {values.data, args.quotient(values.size, cols, "weight"), cols, cols};
}

/// roundedLinear(x, weight, bias, y, cols)
void rounded_linear_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "roundedLinear");
  const size_t cols = args.positive(4, "cols");
  const FloatMatrix weight = trained_weight(args, 1, cols);
  const StoredElements x = args.elements(0);
  const size_t m = args.quotient(x.size, cols, "x");
  const Floats bias = args.optional_floats(2, weight.rows, "bias");
  const Elements y = args.output_elements(3, args.product({m, weight.rows}), "y");
  rounded_linear(weight, m, x.values, bias.data, y);
}

/// roundedLinearGradInput(dy, weight, dx, cols)
void rounded_grad_input_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "roundedLinearGradInput");
  const size_t cols = args.positive(3, "cols");
  const FloatMatrix weight = trained_weight(args, 1, cols);
  const Floats dx = args.floats(2);
  const size_t m = args.quotient(dx.size, cols, "dx");
  const float* const dy = args.floats(0, args.product({m, weight.rows}), "dy").data;
  rounded_grad_input(weight, m, dy, dx.data);
}

/// roundedLinearGradWeight(dy, x, dweight, cols)
void rounded_grad_weight_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "roundedLinearGradWeight");
  const size_t cols = args.positive(3, "cols");
  const StoredElements x = args.elements(1);
  const Floats dweight = args.floats(2);
  const size_t m = args.quotient(x.size, cols, "x");
  const size_t rows = args.quotient(dweight.size, cols, "dweight");
  const float* const dy = args.floats(0, args.product({m, rows}), "dy").data;
  rounded_grad_weight({dy, m, rows, rows}, {x.values, m, cols, cols}, dweight.data);
}

/// The weight of cross-entropy rounded and packed, where argument `index` asks for it; else empty.
PackedWeight rounded_head(const Arguments& args, size_t index, size_t cols) {
  return args.flag(index) ? rounded_rows(trained_weight(args, 1, cols)) : PackedWeight{};
}

/// h, weight, bias, targets, which both functions begin with; cols is argument `cols_index`.
CrossEntropyArgs cross_entropy_arguments(const Arguments& args, size_t cols_index) {
  CrossEntropyArgs p;
  const size_t cols = args.positive(cols_index, "cols");
  const Floats h = args.floats(0);
  p.m = args.quotient(h.size, cols, "h");
  p.h = h.data;
  p.weight = args.matrix(1, cols);
  p.packed = args.packed(1);
  p.bias = args.optional_floats(2, p.weight.rows, "bias").data;
  p.targets = args.ints(3, p.m, "targets").data;
  for (size_t i = 0; i < p.m; ++i)
    if (p.targets[i] < -1 || p.targets[i] >= static_cast<int64_t>(p.weight.rows))
      args.range_error("target " + std::to_string(p.targets[i]) + " is not -1 or below " +
                       std::to_string(p.weight.rows));
  return p;
}

/// What the loss keeps for its gradient, where argument `index` is there and not null.
float* kept_argument(const Arguments& args, size_t index, const CrossEntropyArgs& p) {
  if (p.packed == nullptr) return nullptr;
  return args.optional_floats(index, kept_loss_floats(p.m, p.weight.rows), "kept").data;
}

/// crossEntropyKept(weight, m, cols, rounded): how many floats crossEntropy keeps of m rows
Napi::Value cross_entropy_kept_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "crossEntropyKept");
  const size_t rows = args.matrix(0, args.positive(2, "cols")).rows;
  const bool packed = args.flag(3) || args.packed(0) != nullptr;
  const size_t kept = packed ? kept_loss_floats(args.size(1, "m"), rows) : 0;
  return Napi::Number::New(info.Env(), static_cast<double>(kept));
}

/// crossEntropy(h, weight, bias, targets, losses, logSumExp, cols, rounded, kept)
void cross_entropy_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "crossEntropy");
  CrossEntropyArgs p = cross_entropy_arguments(args, 6);
  const PackedWeight rounded = rounded_head(args, 7, p.weight.cols);
  if (rounded.data != nullptr) p.packed = &rounded;
  p.kept = kept_argument(args, 8, p);
  cross_entropy(p, args.floats(4, p.m, "losses").data, args.floats(5, p.m, "logSumExp").data);
}

/// tokenScores(h, weight, bias, targets, losses, greedy, cols, rounded)
void token_scores_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "tokenScores");
  CrossEntropyArgs p = cross_entropy_arguments(args, 6);
  const PackedWeight rounded = rounded_head(args, 7, p.weight.cols);
  if (rounded.data != nullptr) p.packed = &rounded;
  std::vector<float> log_sum_exp(p.m);
  cross_entropy(p, args.floats(4, p.m, "losses").data, log_sum_exp.data(),
                args.ints(5, p.m, "greedy").data);
}

/// crossEntropyGrad(h, weight, bias, targets, logSumExp, dlosses, dh, dweight, dbias, cols,
/// rounded, kept)
void cross_entropy_grad_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "crossEntropyGrad");
  CrossEntropyArgs p = cross_entropy_arguments(args, 9);
  const size_t cols = p.weight.cols, words = p.weight.rows;
  const PackedWeight rounded = rounded_head(args, 10, cols);
  if (rounded.data != nullptr) p.packed = &rounded;
  p.kept = kept_argument(args, 11, p);
  CrossEntropyGradArgs grad;
  grad.log_sum_exp = args.floats(4, p.m, "logSumExp").data;
  grad.dlosses = args.floats(5, p.m, "dlosses").data;
  grad.dh = args.floats(6, p.m * cols, "dh").data;
  grad.dweight = args.optional_floats(7, words * cols, "dweight").data;
  grad.dbias = args.optional_floats(8, words, "dbias").data;
  cross_entropy_grad(p, grad);
}

/// adamw(parameter, gradient, m, v, step, learningRate, beta1, beta2, eps, weightDecay,
/// gradientScale)
void adamw_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "adamw");
  const Floats parameter = args.floats(0);
  const size_t n = parameter.size;
  const AdamwState state = {parameter.data, args.floats(1, n, "gradient").data,
                            args.floats(2, n, "m").data, args.floats(3, n, "v").data};
  adamw(n, state, adamw_hyper(args, 4));
}

/// adamw8bit(parameter, gradient, m, v, mScales, vScales, step, learningRate, beta1, beta2, eps,
/// weightDecay, gradientScale)
void adamw_8bit_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "adamw8bit");
  adamw_8bit(args.floats(0).size, adamw_8bit_state(args), adamw_hyper(args, 6));
}

void dropout_call(const Napi::CallbackInfo& info) {
  dropout(dropout_arguments(Arguments(info, "dropout")));
}

}  // namespace

void add_training(Napi::Object exports) {
  add_call<rounded_linear_call>(exports, "roundedLinear");
  add_call<rounded_grad_input_call>(exports, "roundedLinearGradInput");
  add_call<rounded_grad_weight_call>(exports, "roundedLinearGradWeight");
  add_call<cross_entropy_call>(exports, "crossEntropy");
  add_call<cross_entropy_kept_call>(exports, "crossEntropyKept");
  add_call<token_scores_call>(exports, "tokenScores");
  add_call<cross_entropy_grad_call>(exports, "crossEntropyGrad");
  add_call<adamw_call>(exports, "adamw");
  add_call<adamw_8bit_call>(exports, "adamw8bit");
  add_call<dropout_call>(exports, "dropout");
}

}  // namespace llmkit::binding
