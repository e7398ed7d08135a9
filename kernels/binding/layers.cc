#include <vector>

#include "binding/layer_arguments.h"
#include "binding/product_arguments.h"
#include "binding/recording.h"
#include "cpu/elementwise/elementwise.h"
#include "cpu/linear/linear.h"
#include "cpu/packed/packed.h"

namespace llmkit::binding {
namespace {

/// What is multiplied with a weight, and where it goes: bf16 where the weight is packed, as it may
/// be.
StoredElements product_input(const Arguments& args, size_t index, const PackedWeight* packed) {
  if (packed != nullptr) return args.elements(index);
  const Floats x = args.floats(index);
  return {x.data, x.size};
}
Elements product_output(const Arguments& args, size_t index, size_t size,
                        const PackedWeight* packed) {
  if (packed != nullptr) return args.output_elements(index, size, "y");
  return args.floats(index, size, "y").data;
}

/// linear(x, weight, bias, y, cols, residual = none)
void linear_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "linear");
  const size_t cols = args.positive(4, "cols");
  const WeightView weight = args.matrix(1, cols);
  const PackedWeight* const packed = args.packed(1);
  const StoredElements x = product_input(args, 0, packed);
  const size_t m = args.quotient(x.size, cols, "x");
  const Floats bias = args.optional_floats(2, weight.rows, "bias");
  const float* const residual = args.optional_floats(5, m * weight.rows, "residual").data;
  // Results are rounded once: not before the residual is added.
  const Elements y =
      product_output(args, 3, m * weight.rows, residual == nullptr ? packed : nullptr);
  run([=] {
    if (packed != nullptr)
      packed_linear(*packed, m, x.values, bias.data, y);
    else
      linear(weight, m, x.values.floats(), bias.data, y.floats());
    if (residual == nullptr) return;
    const Operand sum = {y.floats(), Broadcast::kFull};
    binary(kAdd, {1, m * weight.rows, {residual, Broadcast::kFull}, sum, y.floats()});
  });
}

/// activatedLinear(name, x, weight, bias, y, cols)
void activated_linear_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "activatedLinear");
  const Activation name = activation_argument(args);
  const size_t cols = args.positive(5, "cols");
  const WeightView weight = args.matrix(2, cols);
  const Floats x = args.floats(1);
  const size_t m = args.quotient(x.size, cols, "x");
  const float* const bias = args.optional_floats(3, weight.rows, "bias").data;
  const Floats y = args.floats(4, m * weight.rows, "y");
  const PackedWeight* const packed = args.packed(2);
  run([=] {
    if (packed != nullptr)
      packed_linear(*packed, m, x.data, bias, y.data);
    else
      linear(weight, m, x.data, bias, y.data);
    activation(name, y.size, y.data, y.data);
  });
}

/// Layers of one x, [m, cols]: those whose weights are packed, and the others, whose x and y are
/// float32.
struct Layers {
  size_t m;
  ConstElements x;
  std::vector<PackedLayer> packed;
  struct Plain {
    WeightView weight;
    const float* bias;
    float* y;
  };
  std::vector<Plain> plain;
};

/// The layers that begin at argument `index`: weight, bias and y of each.
Layers layers_of(const Arguments& args, size_t count, size_t index, size_t x_index, size_t cols) {
  const StoredElements x = args.elements(x_index);
  Layers layers = {args.quotient(x.size, cols, "x"), x.values, {}, {}};
  for (size_t i = index; i < count; i += 3) {
    const WeightView weight = args.matrix(i, cols);
    const float* const bias = args.optional_floats(i + 1, weight.rows, "bias").data;
    const PackedWeight* const packed = args.packed(i);
    const Elements y = product_output(args, i + 2, layers.m * weight.rows, packed);
    if (packed != nullptr) {
      layers.packed.push_back({packed, bias, y});
      continue;
    }
    if (x.values.is_bf16) args.expected(x_index, "a Float32Array");
    layers.plain.push_back({weight, bias, y.floats()});
  }
  return layers;
}

void multiply(const Layers& layers) {
  for (const Layers::Plain& layer : layers.plain)
    linear(layer.weight, layers.m, layers.x.floats(), layer.bias, layer.y);
  packed_linears(layers.packed.data(), layers.packed.size(), layers.m, layers.x);
}

/// mergedLinear(x, cols, ...(weight, bias, y) of each layer)
void merged_linear_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "mergedLinear");
  const size_t cols = args.positive(1, "cols");
  run([layers = layers_of(args, info.Length(), 2, 0, cols)] { multiply(layers); });
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

void lora_linear_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "loraLinear");
  auto weight = lora_weight<LoraWeight>(args, 2, 3, args.positive(9, "cols"));
  weight.packed = args.packed(2);
  const LoraArgs p = lora_arguments(args, weight);
  if (weight.packed == nullptr && (p.x.is_bf16 || p.y.is_bf16))
    args.type_error("x and y must be Float32Arrays beside a weight that is not packed");
  run([=] { lora_linear(weight, p); });
}

void lora_linear_grad_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "loraLinearGrad");
  auto weight = lora_weight<LoraWeight>(args, 3, 4, args.positive(11, "cols"));
  weight.packed = args.packed(3);
  lora_linear_grad(weight, lora_grad_arguments(args, weight));
}

void matmul_call(const Napi::CallbackInfo& info) {
  run([p = matmul_arguments(Arguments(info, "matmul"))] { matmul(p); });
}

/// rmsNorm(x, weight, eps, y)
void rms_norm_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "rmsNorm");
  const NormArgs p = norm_arguments(args, 2, false);
  const Elements y = args.output_elements(3, p.rows * p.cols, "y");
  run([=] { norm(p, nullptr, y); });
}

/// layerNorm(x, weight, bias, eps, y)
void layer_norm_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "layerNorm");
  const NormArgs p = norm_arguments(args, 3, true);
  const Floats bias = args.optional_floats(2, p.cols, "bias");
  const Elements y = args.output_elements(4, p.rows * p.cols, "y");
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
  const StoredElements x = args.elements(1);
  const Elements y = args.output_elements(2, x.size, "y");
  run([=] { activation(name, x.size, x.values, y); });
}

/// activationGrad(name, x, dy, dx)
void activation_grad_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "activationGrad");
  const StoredElements x = args.elements(1);
  activation_grad(activation_argument(args), x.size, x.values, args.floats(2, x.size, "dy").data,
                  args.floats(3, x.size, "dx").data);
}

/// gatedMlp(name, gate, up, y)
void gated_mlp_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "gatedMlp");
  const Activation name = activation_argument(args);
  const StoredElements gate = args.elements(1);
  const ConstElements up = args.elements(2, gate.size, "up");
  const Elements y = args.output_elements(3, gate.size, "y");
  run([=] { gated_mlp(name, gate.size, gate.values, up, y); });
}

/// gatedLinear(name, x, cols, gate, gateBias, y, up, upBias, upY)
void gated_linear_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "gatedLinear");
  const Activation name = activation_argument(args);
  const Floats y = args.floats(5);
  const float* const up = args.floats(8, y.size, "upY").data;
  run([=, layers = layers_of(args, 9, 3, 1, args.positive(2, "cols"))] {
    if (layers.plain.empty())
      return packed_gated(name, layers.packed[0], layers.packed[1], layers.m, layers.x);
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

}  // namespace

void add_layers(Napi::Object exports) {
  add_call<linear_call>(exports, "linear");
  add_call<activated_linear_call>(exports, "activatedLinear");
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
}

}  // namespace llmkit::binding
