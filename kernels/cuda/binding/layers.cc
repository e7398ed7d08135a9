#include "binding/layer_arguments.h"
#include "cuda/activation/activation.h"
#include "cuda/binding/device_array.h"
#include "cuda/norm/norm.h"
#include "cuda/rope/rope.h"

namespace llmkit::cuda {
namespace {

/// The norm of p into array `index`.
void write_norm(const Arguments& args, const NormArgs& p, const float* bias, size_t index,
                const char* op) {
  const Elements y = args.output_elements(index, p.rows * p.cols, "y");
  bf16* const rounded = y.is_bf16 ? nullptr : rounded_output(args, index, p.cols);
  check(norm(p, bias, y, rounded, stream()), op);
}

/// rmsNorm(x, weight, eps, y)
void rms_norm_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "rmsNorm");
  write_norm(args, binding::norm_arguments(args, 2, false), nullptr, 3, "rmsNorm");
}

/// layerNorm(x, weight, bias, eps, y)
void layer_norm_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "layerNorm");
  const NormArgs p = binding::norm_arguments(args, 3, true);
  write_norm(args, p, args.optional_floats(2, p.cols, "bias").data, 4, "layerNorm");
}

/// The gradients of both norms: eps is argument 2.
void write_gradients(const Arguments& args, bool centered, const char* op) {
  const NormArgs p = binding::norm_arguments(args, 2, centered);
  const binding::NormGradients to = binding::norm_gradients(args, p);
  const NormGradArgs grad = {p, to.dy, to.dx, to.dweight, to.dbias};
  const Scratch workspace = scratch(norm_grad_workspace(grad));
  check(norm_grad(grad, workspace.data(), stream()), op);
}

/// rmsNormGrad(x, weight, eps, dy, dx, dweight)
void rms_norm_grad_call(const Napi::CallbackInfo& info) {
  write_gradients(Arguments(info, "rmsNormGrad"), false, "rmsNormGrad");
}

/// layerNormGrad(x, weight, eps, dy, dx, dweight, dbias)
void layer_norm_grad_call(const Napi::CallbackInfo& info) {
  write_gradients(Arguments(info, "layerNormGrad"), true, "layerNormGrad");
}

void rope_call(const Napi::CallbackInfo& info) {
  check(rope(binding::rope_arguments(Arguments(info, "rope")), stream()), "rope");
}

/// activation(name, x, y)
void activation_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "activation");
  const StoredElements x = args.elements(1);
  check(activation(binding::activation_argument(args), x.size, x.values,
                   args.output_elements(2, x.size, "y"), stream()),
        "activation");
}

/// activationGrad(name, x, dy, dx)
void activation_grad_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "activationGrad");
  const StoredElements x = args.elements(1);
  check(activation_grad(binding::activation_argument(args), x.size, x.values,
                        args.floats(2, x.size, "dy").data, args.floats(3, x.size, "dx").data,
                        stream()),
        "activationGrad");
}

/// gate and up, arguments 1 and 2, in float32 unless both are bf16.
struct GateAndUp {
  ConstElements gate, up;
  size_t n;

  explicit GateAndUp(const Arguments& args) {
    const StoredElements first = args.elements(1);
    n = first.size;
    gate = first.values;
    up = args.elements(2, n, "up");
    if (gate.is_bf16 == up.is_bf16) return;
    gate = args.floats(1).data;
    up = args.floats(2).data;
  }
};

/// gatedMlp(name, gate, up, y)
void gated_mlp_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "gatedMlp");
  const GateAndUp p(args);
  check(gated_mlp(binding::activation_argument(args), p.n, p.gate, p.up,
                  args.output_elements(3, p.n, "y"), nullptr, stream()),
        "gatedMlp");
}

void gated_mlp_grad_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "gatedMlpGrad");
  size_t n;
  GatedMlpGrad p = binding::gated_grad_arguments(args, n);
  const GateAndUp alike(args);
  p.gate = alike.gate;
  p.up = alike.up;
  check(gated_mlp_grad(binding::activation_argument(args), n, p, stream()), "gatedMlpGrad");
}

}  // namespace

void add_layers(Napi::Object exports) {
  add_procedure<rms_norm_call>(exports, "rmsNorm");
  add_procedure<rms_norm_grad_call>(exports, "rmsNormGrad");
  add_procedure<layer_norm_call>(exports, "layerNorm");
  add_procedure<layer_norm_grad_call>(exports, "layerNormGrad");
  add_procedure<rope_call>(exports, "rope");
  add_procedure<activation_call>(exports, "activation");
  add_procedure<activation_grad_call>(exports, "activationGrad");
  add_procedure<gated_mlp_call>(exports, "gatedMlp");
  add_procedure<gated_mlp_grad_call>(exports, "gatedMlpGrad");
}

}  // namespace llmkit::cuda
