#include "binding/training_arguments.h"
#include "cuda/adamw/adamw.h"
#include "cuda/binding/arguments.h"
#include "cuda/dropout/dropout.h"

namespace llmkit::cuda {
namespace {

/// adamw(parameter, gradient, m, v, step, learningRate, beta1, beta2, eps, weightDecay,
/// gradientScale)
void adamw_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "adamw");
  const Floats parameter = args.floats(0);
  const size_t n = parameter.size;
  const AdamwState state = {parameter.data, args.floats(1, n, "gradient").data,
                            args.floats(2, n, "m").data, args.floats(3, n, "v").data};
  check(adamw(n, state, binding::adamw_hyper(args, 4), stream()), "adamw");
}

/// adamw8bit(parameter, gradient, m, v, mScales, vScales, step, learningRate, beta1, beta2, eps,
/// weightDecay, gradientScale)
void adamw_8bit_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "adamw8bit");
  check(adamw_8bit(args.floats(0).size, binding::adamw_8bit_state(args),
                   binding::adamw_hyper(args, 6), stream()),
        "adamw8bit");
}

void dropout_call(const Napi::CallbackInfo& info) {
  check(dropout(binding::dropout_arguments(Arguments(info, "dropout")), stream()), "dropout");
}

}  // namespace

void add_training(Napi::Object exports) {
  add_procedure<adamw_call>(exports, "adamw");
  add_procedure<adamw_8bit_call>(exports, "adamw8bit");
  add_procedure<dropout_call>(exports, "dropout");
}

}  // namespace llmkit::cuda
