#include <vector>

#include "binding/layer_arguments.h"
#include "binding/recording.h"
#include "cpu/elementwise/elementwise.h"
#include "cpu/linear/linear.h"
#include "cpu/lora_linear/lora_linear.h"
#include "cpu/matmul/matmul.h"
#include "cpu/packed/packed.h"

namespace llmkit::binding {
namespace {

/// linear(x, weight, bias, y, cols, residual = none)
void linear_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "linear");
  const size_t cols = args.positive(4, "cols");
  const WeightView weight = args.matrix(1, cols);
  const Floats x = args.floats(0);
  const size_t m = args.quotient(x.size, cols, "x");
  const Floats bias = args.optional_floats(2, weight.rows, "bias");
  float* const y = args.floats(3, m * weight.rows, "y").data;
  const float* const residual = args.optional_floats(5, m * weight.rows, "residual").data;
  const PackedWeight* const packed = args.packed(1);
  run([=] {
    if (packed != nullptr)
      packed_linear(*packed, m, x.data, bias.data, y);
    else
      linear(weight, m, x.data, bias.data, y);
    if (residual != nullptr)
      binary(kAdd, {1, m * weight.rows, {residual, Broadcast::kFull}, {y, Broadcast::kFull}, y});
  });
}

/// Layers of one x, [m, cols]: those whose weights are packed, and the others.
struct Layers {
  size_t m;
  const float* x;
  std::vector<PackedLayer> packed;
  struct Plain {
    WeightView weight;
    const float* bias;
    float* y;
  };
  std::vector<Plain> plain;
};

/// The layers that begin at argument `index`: weight, bias and y of each.
Layers layers_of(const Arguments& args, size_t count, size_t index, const Floats& x, size_t cols) {
  Layers layers = {args.quotient(x.size, cols, "x"), x.data, {}, {}};
  for (size_t i = index; i < count; i += 3) {
    const WeightView weight = args.matrix(i, cols);
    const float* const bias = args.optional_floats(i + 1, weight.rows, "bias").data;
    float* const y = args.floats(i + 2, layers.m * weight.rows, "y").data;
    if (args.packed(i) != nullptr)
      layers.packed.push_back({args.packed(i), bias, y});
    else
      layers.plain.push_back({weight, bias, y});
  }
  return layers;
}

void multiply(const Layers& layers) {
  for (const Layers::Plain& layer : layers.plain)
    linear(layer.weight, layers.m, layers.x, layer.bias, layer.y);
  packed_linears(layers.packed.data(), layers.packed.size(), layers.m, layers.x);
}

/// mergedLinear(x, cols, ...(weight, bias, y) of each layer)
void merged_linear_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "mergedLinear");
  const size_t cols = args.positive(1, "cols");
  run([layers = layers_of(args, info.Length(), 2, args.floats(0), cols)] { multiply(layers); });
}

/// linearGradInput(dy, weight, dx, cols)
void linear_grad_input_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "linearGradInput");
  const size_t cols = args.positive(3, "cols");
  const WeightView weight = args.matrix(1, cols);
  const Floats dx = args.floats(2);
  const size_t m = args.quotient(dx.size, cols, "dx");
  const float* const dy = args.floats(0, m * weight.rows, "dy").data;
  const PackedWeight* const packed = args.packed(1);
  if (packed != nullptr)
    packed_grad_input(*packed, {m, dy, weight.rows, 0, packed->tiles, dx.data, false});
  else
    linear_grad_input(weight, m, dy, dx.data);
}

/// weight, a, b and scale of the functions with LoRA, at `index` and after it.
LoraWeight lora_weight(const Arguments& args, size_t index, size_t cols) {
  LoraWeight w;
  w.weight = args.matrix(index, cols);
  w.packed = args.packed(index);
  const Floats a = args.floats(index + 1);
  w.rank = args.quotient(a.size, cols, "a");
  w.a = a.data;
  w.b = args.floats(index + 2, args.product({w.weight.rows, w.rank}), "b").data;
  w.scale = args.real(index + 3);
  return w;
}

/// loraLinear(x, dropped, weight, a, b, scale, bias, y, low, cols)
void lora_linear_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "loraLinear");
  const size_t cols = args.positive(9, "cols");
  const LoraWeight weight = lora_weight(args, 2, cols);
  const Floats x = args.floats(0);
  LoraArgs p;
  p.m = args.quotient(x.size, cols, "x");
  p.x = x.data;
  p.dropped = args.floats(1, x.size, "dropped").data;
  p.bias = args.optional_floats(6, weight.weight.rows, "bias").data;
  p.y = args.floats(7, p.m * weight.weight.rows, "y").data;
  p.low = args.floats(8, p.m * weight.rank, "low").data;
  run([=] { lora_linear(weight, p); });
}

/// loraLinearGrad(dy, dropped, low, weight, a, b, scale, dx, ddropped, da, db, cols)
void lora_linear_grad_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "loraLinearGrad");
  const size_t cols = args.positive(11, "cols");
  const LoraWeight weight = lora_weight(args, 3, cols);
  const Floats dropped = args.floats(1);
  const size_t rows = weight.weight.rows, rank = weight.rank;
  LoraGradArgs p;
  p.m = args.quotient(dropped.size, cols, "dropped");
  p.dy = args.floats(0, p.m * rows, "dy").data;
  p.dropped = dropped.data;
  p.low = args.floats(2, p.m * rank, "low").data;
  p.dx = args.floats(7, dropped.size, "dx").data;
  p.ddropped = args.optional_floats(8, dropped.size, "ddropped").data;
  p.da = args.floats(9, rank * cols, "da").data;
  p.db = args.floats(10, rows * rank, "db").data;
  lora_linear_grad(weight, p);
}

/// matmul(a, b, y, batchA, batchB, m, n, k, transposeA, transposeB)
void matmul_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "matmul");
  MatmulArgs p;
  p.batch_a = args.positive(3, "batchA");
  p.batch_b = args.positive(4, "batchB");
  p.m = args.size(5, "m");
  p.n = args.size(6, "n");
  p.k = args.size(7, "k");
  const size_t batch = p.batch_a > p.batch_b ? p.batch_a : p.batch_b;
  p.transpose_a = args.flag(8);
  p.transpose_b = args.flag(9);
  p.a = args.floats(0, args.product({p.batch_a, p.m, p.k}), "a").data;
  p.b = args.floats(1, args.product({p.batch_b, p.k, p.n}), "b").data;
  p.y = args.floats(2, args.product({batch, p.m, p.n}), "y").data;
  run([=] { matmul(p); });
}

/// rmsNorm(x, weight, eps, y)
void rms_norm_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "rmsNorm");
  const NormArgs p = norm_arguments(args, 2, false);
  float* const y = args.floats(3, p.rows * p.cols, "y").data;
  run([=] { norm(p, nullptr, y); });
}

/// layerNorm(x, weight, bias, eps, y)
void layer_norm_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "layerNorm");
  const NormArgs p = norm_arguments(args, 3, true);
  const Floats bias = args.optional_floats(2, p.cols, "bias");
  float* const y = args.floats(4, p.rows * p.cols, "y").data;
  run([=] { norm(p, bias.data, y); });
}

/// The gradients of both norms: eps is argument 2.
void write_gradients(const Arguments& args, bool centered) {
  const NormArgs p = norm_arguments(args, 2, centered);
  const NormGradients grad = norm_gradients(args, p);
  norm_grad(p, grad.dy, grad.dx, grad.dweight, grad.dbias);
}

/// rmsNormGrad(x, weight, eps, dy, dx, dweight)
void rms_norm_grad_call(const Napi::CallbackInfo& info) {
  write_gradients(Arguments(info, "rmsNormGrad"), false);
}

/// layerNormGrad(x, weight, eps, dy, dx, dweight, dbias)
void layer_norm_grad_call(const Napi::CallbackInfo& info) {
  write_gradients(Arguments(info, "layerNormGrad"), true);
}

void rope_call(const Napi::CallbackInfo& info) {
  run([p = rope_arguments(Arguments(info, "rope"))] { rope(p); });
}

/// activation(name, x, y)
void activation_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "activation");
  const Activation name = activation_argument(args);
  const Floats x = args.floats(1);
  float* const y = args.floats(2, x.size, "y").data;
  run([=] { activation(name, x.size, x.data, y); });
}

/// activationGrad(name, x, dy, dx)
void activation_grad_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "activationGrad");
  const Floats x = args.floats(1);
  activation_grad(activation_argument(args), x.size, x.data, args.floats(2, x.size, "dy").data,
                  args.floats(3, x.size, "dx").data);
}

/// gatedMlp(name, gate, up, y)
void gated_mlp_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "gatedMlp");
  const Activation name = activation_argument(args);
  const Floats gate = args.floats(1);
  const float* const up = args.floats(2, gate.size, "up").data;
  float* const y = args.floats(3, gate.size, "y").data;
  run([=] { gated_mlp(name, gate.size, gate.data, up, y); });
}

/// gatedLinear(name, x, cols, gate, gateBias, y, up, upBias, upY)
void gated_linear_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "gatedLinear");
  const Activation name = activation_argument(args);
  const Floats y = args.floats(5);
  const float* const up = args.floats(8, y.size, "upY").data;
  run([=, layers = layers_of(args, 9, 3, args.floats(1), args.positive(2, "cols"))] {
    multiply(layers);
    gated_mlp(name, y.size, y.data, up, y.data);
  });
}

void gated_mlp_grad_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "gatedMlpGrad");
  size_t n;
  const GatedMlpGrad p = gated_grad_arguments(args, n);
  gated_mlp_grad(activation_argument(args), n, p);
}

/// gatedMlpKeep(name, gate, up, y, kept)
void gated_mlp_keep_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "gatedMlpKeep");
  const Floats gate = args.floats(1);
  const size_t n = gate.size;
  gated_mlp_keep(activation_argument(args), n, gate.data, args.floats(2, n, "up").data,
                 args.floats(3, n, "y").data, kept_of(args.floats(4, n, "kept")));
}

/// gatedMlpKept(name, kept, y)
void gated_mlp_kept_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "gatedMlpKept");
  const Floats kept = args.floats(1);
  gated_mlp_kept(activation_argument(args), kept.size, kept_of(kept),
                 args.floats(2, kept.size, "y").data);
}

void gated_mlp_kept_grad_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "gatedMlpKeptGrad");
  size_t n;
  const GatedMlpKeptGrad p = kept_grad_arguments(args, n);
  gated_mlp_kept_grad(activation_argument(args), n, p);
}

}  // namespace

void add_layers(Napi::Object exports) {
  add_call<linear_call>(exports, "linear");
  add_call<merged_linear_call>(exports, "mergedLinear");
  add_call<linear_grad_input_call>(exports, "linearGradInput");
  add_call<lora_linear_call>(exports, "loraLinear");
  add_call<lora_linear_grad_call>(exports, "loraLinearGrad");
  add_call<matmul_call>(exports, "matmul");
  add_call<rms_norm_call>(exports, "rmsNorm");
  add_call<rms_norm_grad_call>(exports, "rmsNormGrad");
  add_call<layer_norm_call>(exports, "layerNorm");
  add_call<layer_norm_grad_call>(exports, "layerNormGrad");
  add_call<rope_call>(exports, "rope");
  add_call<activation_call>(exports, "activation");
  add_call<activation_grad_call>(exports, "activationGrad");
  add_call<gated_linear_call>(exports, "gatedLinear");
  add_call<gated_mlp_call>(exports, "gatedMlp");
  add_call<gated_mlp_grad_call>(exports, "gatedMlpGrad");
  add_call<gated_mlp_keep_call>(exports, "gatedMlpKeep");
  add_call<gated_mlp_kept_call>(exports, "gatedMlpKept");
  add_call<gated_mlp_kept_grad_call>(exports, "gatedMlpKeptGrad");
}

}  // namespace llmkit::binding
