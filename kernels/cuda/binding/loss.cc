#include "cuda/binding/arguments.h"
#include "cuda/binding/wrong_ids.h"
#include "cuda/cross_entropy/cross_entropy.h"

namespace llmkit::cuda {
namespace {

/// h, weight, bias, targets, which both functions begin with; cols is argument `cols_index` and
/// `rounded` the one after it.
CrossEntropyArgs cross_entropy_arguments(const Arguments& args, size_t cols_index) {
  CrossEntropyArgs p;
  const size_t cols = args.positive(cols_index, "cols");
  const Floats h = args.floats(0);
  p.m = args.quotient(h.size, cols, "h");
  p.h = h.data;
  p.head.weight = args.matrix(1, cols);
  p.head.packed = packed_weight(args, 1);
  p.head.rounded = args.flag(cols_index + 1);
  p.head.bias = args.optional_floats(2, p.head.words(), "bias").data;
  p.targets = args.ints(3, p.m, "targets").data;
  p.report = id_report();
  return p;
}

/// crossEntropy(h, weight, bias, targets, losses, logSumExp, cols, rounded)
void cross_entropy_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "crossEntropy");
  const CrossEntropyArgs p = cross_entropy_arguments(args, 6);
  float* const losses = args.floats(4, p.m, "losses").data;
  float* const log_sum_exp = args.floats(5, p.m, "logSumExp").data;
  const Scratch workspace = scratch(cross_entropy_workspace(p));
  check(cross_entropy(p, losses, log_sum_exp, workspace.data(), stream()), "crossEntropy");
}

/// crossEntropyGrad(h, weight, bias, targets, logSumExp, dlosses, dh, dweight, dbias, cols,
/// rounded)
void cross_entropy_grad_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "crossEntropyGrad");
  const CrossEntropyArgs p = cross_entropy_arguments(args, 9);
  const size_t cols = p.head.cols(), words = p.head.words();
  CrossEntropyGradArgs grad;
  grad.log_sum_exp = args.floats(4, p.m, "logSumExp").data;
  grad.dlosses = args.floats(5, p.m, "dlosses").data;
  grad.dh = args.floats(6, args.product({p.m, cols}), "dh").data;
  grad.dweight = args.optional_floats(7, args.product({words, cols}), "dweight").data;
  grad.dbias = args.optional_floats(8, words, "dbias").data;
  if (grad.dweight != nullptr && info[1].IsExternal())
    args.range_error("a frozen weight has no gradient");
  const Scratch workspace = scratch(cross_entropy_grad_workspace(p, grad));
  check(cross_entropy_grad(p, grad, workspace.data(), stream()), "crossEntropyGrad");
}

}  // namespace

void add_loss(Napi::Object exports) {
  add_procedure<cross_entropy_call>(exports, "crossEntropy");
  add_procedure<cross_entropy_grad_call>(exports, "crossEntropyGrad");
}

}  // namespace llmkit::cuda
