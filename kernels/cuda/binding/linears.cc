#include <vector>

#include "binding/product_arguments.h"
#include "cuda/activation/activation.h"
#include "cuda/binding/device_array.h"
#include "cuda/linear/linear.h"
#include "cuda/lora_linear/lora_linear.h"
#include "cuda/packed_linear/packed_linear.h"

namespace llmkit::cuda {
namespace {

/// Multiplies x by layers, each a weight and the bias after it among the arguments. The packed ones
/// share the rounding of x, and a launch where their codes are alike.
class Layers {
 public:
  Layers(const Arguments& args, const char* name, size_t x_index, size_t cols)
      : args_(args),
        name_(name),
        cols_(cols),
        rows_(product_rows(args, x_index, cols)),
        m_(args.quotient(rows_.x.size, cols, "x")) {}

  size_t rows_of_x() const { return m_; }
  size_t rows(size_t index) const { return args_.matrix(index, cols_).rows; }

  /// Where y of the layer at argument `index` is to go, argument `y_index`. Only a packed layer can
  /// write it as bf16.
  Elements result(size_t index, size_t y_index) const {
    const size_t size = args_.product({m_, rows(index)});
    if (packed_weight(args_, index) != nullptr) return args_.output_elements(y_index, size, "y");
    return args_.floats(y_index, size, "y").data;
  }
  /// The same as float32.
  Floats floats(size_t index, size_t y_index) const {
    return args_.floats(y_index, args_.product({m_, rows(index)}), "y");
  }

  void add(size_t index, Elements y, const float* residual = nullptr) {
    const WeightView view = args_.matrix(index, cols_);
    const float* const bias = args_.optional_floats(index + 1, view.rows, "bias").data;
    if (const PackedWeight* const packed = packed_weight(args_, index)) {
      packed_.push_back({});
      PackedLayer& layer = packed_.back();
      layer.weight = packed;
      layer.bias = bias;
      layer.residual = residual;
      layer.y = y;
    } else {
      stored_.push_back({view, m_, rows_.x.values, bias, residual, y.floats()});
    }
  }

  /// The layer at argument `index`, the `place`-th that was added, adds scale · b · a as well: the
  /// arguments from `pair` on, if they are there.
  void update(size_t place, size_t index, size_t pair) {
    if (args_.absent(pair)) return;
    auto weight = binding::lora_weight<LoraWeight>(args_, index, pair, cols_);
    weight.packed = packed_weight(args_, index);
    if (weight.packed == nullptr || !stored_.empty())
      args_.range_error("a product that adds an update needs packed weights");
    lows_.push_back(scratch(args_.product({m_, weight.rank, sizeof(float)})));
    LoraArgs p = {};
    p.m = m_;
    p.x = p.dropped = rows_.x.values;
    p.low = lows_.back().as<float>();
    const Scratch workspace = scratch(lora_low_workspace(weight, p));
    check(lora_low(weight, p, workspace.data(), stream()), name_);
    packed_[place].update = lora_layer(weight, p).update;
  }

  /// The first layer, which is packed, ends in f; its results are argument `y_index`.
  void end_first(Ending ending, Activation f, size_t y_index) {
    PackedLayer& layer = packed_.front();
    layer.ending = ending;
    layer.f = f;
    layer.rounded = rounded_result(*layer.weight, y_index);
  }
  /// Where results are to be put in bf16 as well; null where no product takes them.
  bf16* rounded_result(const PackedWeight& weight, size_t y_index) const {
    const bool takes = weight.instructions != Instructions::kWarpgroups;
    return takes ? rounded_output(args_, y_index, weight.rows) : nullptr;
  }

  void multiply() const {
    for (const LinearArgs& layer : stored_) {
      const Scratch workspace = scratch(linear_workspace(layer));
      check(linear(layer, workspace.data(), stream()), name_);
    }
    const PackedLinearArgs all = {m_, rows_.x.values, packed_.data(), packed_.size(),
                                  rows_.rounded};
    const Scratch workspace = scratch(packed_linears_workspace(all));
    check(packed_linears(all, workspace.data(), stream()), name_);
  }

 private:
  const Arguments& args_;
  const char* const name_;
  const size_t cols_;
  const ProductRows rows_;
  const size_t m_;
  std::vector<LinearArgs> stored_;
  std::vector<PackedLayer> packed_;
  std::vector<Scratch> lows_;
};

/// linear(x, weight, bias, y, cols, residual = none, a = none, b, scale)
void linear_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "linear");
  const size_t cols = args.positive(4, "cols");
  Layers layers(args, "linear", 0, cols);
  const size_t size = args.product({layers.rows_of_x(), layers.rows(1)});
  layers.add(1, layers.result(1, 3), args.optional_floats(5, size, "residual").data);
  layers.update(0, 1, 6);
  layers.multiply();
}

/// activatedLinear(name, x, weight, bias, y, cols, a = none, b, scale)
void activated_linear_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "activatedLinear");
  const auto f = static_cast<Activation>(args.choice(0, kActivationNames));
  Layers layers(args, "activatedLinear", 1, args.positive(5, "cols"));
  const Floats y = layers.floats(2, 4);
  layers.add(2, y.data);
  layers.update(0, 2, 6);
  const bool packed = packed_weight(args, 2) != nullptr;
  if (packed) layers.end_first(Ending::kActivated, f, 4);
  layers.multiply();
  if (!packed) check(activation(f, y.size, y.data, y.data, stream()), "activatedLinear");
}

/// mergedLinear(x, cols, ...(weight, bias, y) of each layer)
void merged_linear_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "mergedLinear");
  Layers layers(args, "mergedLinear", 0, args.positive(1, "cols"));
  for (size_t i = 2; i < info.Length(); i += 3) layers.add(i, layers.result(i, i + 2));
  layers.multiply();
}

/// Whether the weights at two arguments are made in one product, the first gating the second.
bool gates_in_product(const Arguments& args, size_t gate, size_t up) {
  const PackedWeight* const first = packed_weight(args, gate);
  const PackedWeight* const second = packed_weight(args, up);
  return first != nullptr && second != nullptr && can_gate(*first, *second);
}

/// gatedLinear(name, x, cols, gate, gateBias, y, up, upBias, null, a = none, b, scale of the gate,
/// the same of up)
void gated_linear_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "gatedLinear");
  const auto f = static_cast<Activation>(args.choice(0, kActivationNames));
  Layers layers(args, "gatedLinear", 1, args.positive(2, "cols"));
  const Floats y = layers.floats(3, 5);
  args.expect(layers.rows(6), layers.rows(3), "up");
  const bool in_product = gates_in_product(args, 3, 6);
  const Scratch up = scratch(in_product ? 0 : y.size * sizeof(float));
  auto* const up_sums = static_cast<float*>(up.data());
  layers.add(3, y.data);
  layers.add(6, in_product ? nullptr : up_sums);
  layers.update(0, 3, 9);
  layers.update(1, 6, 12);
  if (in_product) layers.end_first(Ending::kGates, f, 5);
  layers.multiply();
  if (in_product) return;
  bf16* const rounded = rounded_output(args, 5, layers.rows(3));
  check(gated_mlp(f, y.size, y.data, up_sums, y.data, rounded, stream()), "gatedLinear");
}

/// linearGradInput(dy, weight, dx, cols)
void linear_grad_input_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "linearGradInput");
  const size_t cols = args.positive(3, "cols");
  const WeightView weight = args.matrix(1, cols);
  const Floats dx = args.floats(2);
  const size_t m = args.quotient(dx.size, cols, "dx");
  const float* const dy = args.floats(0, args.product({m, weight.rows}), "dy").data;
  if (const PackedWeight* const packed = packed_weight(args, 1)) {
    const PackedGradInputArgs grad = {m, dy, packed, dx.data, {}};
    const Scratch workspace = scratch(packed_grad_input_workspace(grad));
    return check(packed_grad_input(grad, workspace.data(), stream()), "linearGradInput");
  }
  const LinearGradInputArgs grad = {weight, m, dy, dx.data};
  const Scratch workspace = scratch(linear_grad_input_workspace(grad));
  check(linear_grad_input(grad, workspace.data(), stream()), "linearGradInput");
}

}  // namespace

void add_linears(Napi::Object exports) {
  add_procedure<linear_call>(exports, "linear");
  add_procedure<activated_linear_call>(exports, "activatedLinear");
  add_procedure<merged_linear_call>(exports, "mergedLinear");
  add_procedure<gated_linear_call>(exports, "gatedLinear");
  add_procedure<linear_grad_input_call>(exports, "linearGradInput");
}

}  // namespace llmkit::cuda
