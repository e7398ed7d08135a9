#include <vector>

#include "cpu/linear/linear.h"
#include "cpu/lora_linear/lora_linear.h"
#include "cpu/packed/packed.h"
#include "tensorflow/arguments.h"
#include "tensorflow/names.h"

namespace llmkit::tensorflow {
namespace {

/// y [..., rows] = x [..., cols] · weightᵀ + bias
struct Linear {
  explicit Linear(const Attributes& attributes) : weight(attributes.integer("weight")) {}

  void operator()(Call& call) const {
    const Input<const float> x = call.floats(0);
    const auto [view, packed] = named_weight(weight);
    const size_t m = quotient(x.size, view.cols, "x");
    const float* const bias = call.optional_floats(1, view.rows, "bias");
    float* const y = call.output(0, with_last(x.shape, view.rows));
    if (packed != nullptr)
      packed_linear(*packed, m, x.data, bias, y);
    else
      linear(view, m, x.data, bias, y);
  }

  int64_t weight;
};

/// Several of them of one x; the biases are as many inputs.
struct MergedLinear {
  explicit MergedLinear(const Attributes& attributes) : weights(attributes.integers("weights")) {}

  void operator()(Call& call) const {
    const Input<const float> x = call.floats(0);
    std::vector<PackedLayer> packed_layers;
    size_t m = 0;
    for (size_t i = 0; i < weights.size(); ++i) {
      const auto [view, packed] = named_weight(weights[i]);
      m = quotient(x.size, view.cols, "x");
      const int index = static_cast<int>(i);
      const float* const bias = call.optional_floats(1 + index, view.rows, "bias");
      float* const y = call.output(index, with_last(x.shape, view.rows));
      if (packed != nullptr)
        packed_layers.push_back({packed, bias, y});
      else
        linear(view, m, x.data, bias, y);
    }
    packed_linears(packed_layers.data(), packed_layers.size(), m, x.data);
  }

  std::vector<int64_t> weights;
};

/// dx [..., cols] = dy [..., rows] · weight
struct LinearGradInput {
  explicit LinearGradInput(const Attributes& attributes) : weight(attributes.integer("weight")) {}

  void operator()(Call& call) const {
    const Input<const float> dy = call.floats(0);
    const auto [view, packed] = named_weight(weight);
    const size_t m = quotient(dy.size, view.rows, "dy");
    float* const dx = call.output(0, with_last(dy.shape, view.cols));
    if (packed != nullptr)
      packed_grad_input(*packed, {m, dy.data, view.rows, 0, packed->tiles, dx, false});
    else
      linear_grad_input(view, m, dy.data, dx);
  }

  int64_t weight;
};

/// What the ops with LoRA share.
struct Lora {
  explicit Lora(const Attributes& attributes)
      : weight(attributes.integer("weight")), scale(attributes.real("scale")) {}

  /// a [rank, cols] is input `index`, b [rows, rank] the next.
  LoraWeight operands(Call& call, int index) const {
    const auto [view, packed] = named_weight(weight);
    const Input<const float> a = call.floats(index);
    const size_t rank = quotient(a.size, view.cols, "a");
    return {view, packed, rank, a.data, call.floats(index + 1, view.rows * rank, "b"), scale};
  }

  int64_t weight;
  float scale;
};

struct LoraLinear : Lora {
  using Lora::Lora;

  void operator()(Call& call) const {
    const LoraWeight w = operands(call, 2);
    const LoraArgs p = lora_arguments(call, w.weight.rows, w.weight.cols, w.rank);
    lora_linear(w, p);
  }
};

struct LoraLinearGrad : Lora {
  explicit LoraLinearGrad(const Attributes& attributes)
      : Lora(attributes), whole(attributes.flag("whole")) {}

  void operator()(Call& call) const {
    const LoraWeight w = operands(call, 3);
    const LoraGradArgs p = lora_grad_arguments(call, w.weight.rows, w.weight.cols, w.rank, whole);
    lora_linear_grad(w, p);
  }

  bool whole;
};

/// The rows ids of the weight, in float32.
struct Embedding {
  explicit Embedding(const Attributes& attributes) : weight(attributes.integer("weight")) {}

  void operator()(Call& call) const {
    const Input<const int32_t> ids = call.ints(0);
    const auto [view, packed] = named_weight(weight);
    if (packed != nullptr) throw OpError("a packed weight has no rows to read");
    for (size_t i = 0; i < ids.size; ++i)
      if (ids.data[i] < 0 || static_cast<size_t>(ids.data[i]) >= view.rows)
        throw OpError("id " + std::to_string(ids.data[i]) + " is not below " +
                      std::to_string(view.rows));
    Shape shape = ids.shape;
    shape.push_back(static_cast<int64_t>(view.cols));
    dequantize_rows(view, ids.size, ids.data, call.output(0, shape));
  }

  int64_t weight;
};

}  // namespace

void register_linear_ops() {
  register_op<Linear>({"LlmkitLinear", {"x: float", "bias: float"}, {"y: float"}, {"weight: int"}});
  register_op<MergedLinear>({"LlmkitMergedLinear",
                             {"x: float", "biases: N * float"},
                             {"y: N * float"},
                             {"weights: list(int)", "N: int >= 1"}});
  register_op<LinearGradInput>(
      {"LlmkitLinearGradInput", {"dy: float"}, {"dx: float"}, {"weight: int"}});
  register_op<LoraLinear>({"LlmkitLoraLinear",
                           {"x: float", "dropped: float", "a: float", "b: float", "bias: float"},
                           {"y: float", "low: float"},
                           {"weight: int", "scale: float"}});
  register_op<LoraLinearGrad>(
      {"LlmkitLoraLinearGrad",
       {"dy: float", "dropped: float", "low: float", "a: float", "b: float"},
       {"dx: float", "da: float", "db: float", "ddropped: float"},
       {"weight: int", "scale: float", "whole: bool"}});
  register_op<Embedding>({"LlmkitEmbedding", {"ids: int32"}, {"y: float"}, {"weight: int"}});
}

}  // namespace llmkit::tensorflow
