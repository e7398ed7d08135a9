#include <vector>

#include "cuda/activation/activation.h"
#include "cuda/binding/device_array.h"
#include "cuda/linear/linear.h"
#include "cuda/packed_linear/packed_linear.h"

namespace llmkit::cuda {
namespace {

/// Multiplies x by the layers that begin at argument `index`: weight, bias and y of each. The
/// packed ones share the rounding of x, and a launch where their codes are alike.
class Layers {
 public:
  Layers(const Arguments& args, const char* name, size_t x_index, size_t cols)
      : args_(args),
        name_(name),
        cols_(cols),
        rows_(product_rows(args, x_index, cols)),
        m_(args.quotient(rows_.x.size, cols, "x")) {}

  size_t rows_of_x() const { return m_; }

  /// Adds a layer. Only a packed one can write y as bf16.
  void add(size_t index, const float* residual = nullptr) {
    const WeightView view = args_.matrix(index, cols_);
    const float* const bias = args_.optional_floats(index + 1, view.rows, "bias").data;
    const size_t size = args_.product({m_, view.rows});
    if (const PackedWeight* const packed = packed_weight(args_, index))
      packed_.push_back({packed, bias, residual, args_.output_elements(index + 2, size, "y"), {}});
    else
      stored_.push_back(
          {view, m_, rows_.x.values, bias, residual, args_.floats(index + 2, size, "y").data});
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
};

/// linear(x, weight, bias, y, cols, residual = none)
void linear_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "linear");
  const size_t cols = args.positive(4, "cols");
  Layers layers(args, "linear", 0, cols);
  const size_t size = args.product({layers.rows_of_x(), args.matrix(1, cols).rows});
  layers.add(1, args.optional_floats(5, size, "residual").data);
  layers.multiply();
}

/// mergedLinear(x, cols, ...(weight, bias, y) of each layer)
void merged_linear_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "mergedLinear");
  Layers layers(args, "mergedLinear", 0, args.positive(1, "cols"));
  for (size_t i = 2; i < info.Length(); i += 3) layers.add(i);
  layers.multiply();
}

/// gatedLinear(name, x, cols, gate, gateBias, y, up, upBias, upY)
void gated_linear_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "gatedLinear");
  const auto f = static_cast<Activation>(args.choice(0, kActivationNames));
  Layers layers(args, "gatedLinear", 1, args.positive(2, "cols"));
  const Floats y = args.floats(5), up = args.floats(8, y.size, "upY");
  layers.add(3);
  layers.add(6);
  layers.multiply();
  const size_t m = layers.rows_of_x();
  bf16* const rounded = rounded_output(args, 5, m == 0 ? 0 : y.size / m);
  check(gated_mlp(f, y.size, y.data, up.data, y.data, rounded, stream()), "gatedLinear");
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
  add_procedure<merged_linear_call>(exports, "mergedLinear");
  add_procedure<gated_linear_call>(exports, "gatedLinear");
  add_procedure<linear_grad_input_call>(exports, "linearGradInput");
}

}  // namespace llmkit::cuda
