#include <vector>

#include "cpu/activation/activation.h"
#include "cpu/dropout/dropout.h"
#include "cpu/elements/elements.h"
#include "cpu/norm/norm.h"
#include "cpu/rope/rope.h"
#include "tensorflow/arguments.h"

namespace llmkit::tensorflow {
namespace {

template <bool kCentered>
struct Norm : NormOp<kCentered> {
  using NormOp<kCentered>::NormOp;

  void operator()(Call& call) const {
    const Input<const float> x = call.floats(0);
    const NormArgs args = this->arguments(x, call.floats(1));
    const float* const bias = call.optional_floats(2, args.cols, "bias");
    norm(args, bias, call.output(0, x.shape));
  }
};

/// The gradient of x, or with `of_weight` that of the weight.
template <bool kCentered>
struct NormGrad : Norm<kCentered> {
  explicit NormGrad(const Attributes& attributes)
      : Norm<kCentered>(attributes), of_weight(attributes.flag("of_weight")) {}

  void operator()(Call& call) const {
    const Input<const float> x = call.floats(0), weight = call.floats(1);
    const NormArgs args = this->arguments(x, weight);
    const float* const dy = call.floats(2, x.size, "dy");
    float* const gradient = call.output(0, of_weight ? weight.shape : x.shape);
    norm_grad(args, dy, of_weight ? nullptr : gradient, of_weight ? gradient : nullptr, nullptr);
  }

  bool of_weight;
};

struct Rope {
  explicit Rope(const Attributes& attributes) : inverse(attributes.flag("inverse")) {}

  void operator()(Call& call) const { rope(rope_arguments(call, inverse)); }

  bool inverse;
};

struct GatedMlp {
  explicit GatedMlp(const Attributes& attributes) : activation(activation_of(attributes)) {}

  void operator()(Call& call) const {
    const Input<const float> gate = call.floats(0);
    const float* const up = call.floats(1, gate.size, "up");
    gated_mlp(activation, gate.size, gate.data, up, call.output(0, gate.shape));
  }

  Activation activation;
};

struct GatedMlpGrad {
  explicit GatedMlpGrad(const Attributes& attributes) : activation(activation_of(attributes)) {}

  void operator()(Call& call) const {
    const Input<const float> gate = call.floats(0);
    const size_t n = gate.size;
    gated_mlp_grad(activation, n,
                   {gate.data, call.floats(1, n, "up"), call.floats(2, n, "dy"),
                    call.output(0, gate.shape), call.output(1, gate.shape)});
  }

  Activation activation;
};

/// x rounded to bf16. TensorFlow's tensors stay float32.
struct Hold {
  explicit Hold(const Attributes&) {}

  void operator()(Call& call) const {
    const Input<const float> x = call.floats(0);
    std::vector<uint16_t> halves(x.size);
    convert(x.size, x.data, halves.data());
    convert(x.size, halves.data(), call.output(0, x.shape));
  }
};

struct Dropout {
  explicit Dropout(const Attributes& attributes)
      : rate(attributes.bits("rate")),
        seed(static_cast<uint32_t>(attributes.integer("seed"))),
        stream(static_cast<uint32_t>(attributes.integer("stream"))) {
    if (!(rate >= 0 && rate < 1)) throw OpError("rate must be in [0, 1)");
  }

  void operator()(Call& call) const {
    const Input<const float> x = call.floats(0);
    const Input<const int32_t> keys = call.ints(1);
    DropoutArgs p;
    p.rows = quotient(keys.size, 2, "keys");
    p.cols = p.rows == 0 ? 0 : quotient(x.size, p.rows, "x");
    p.x = x.data;
    p.keys = keys.data;
    p.rate = rate;
    p.seed = seed;
    p.stream = stream;
    p.y = call.output(0, x.shape);
    dropout(p);
  }

  double rate;
  uint32_t seed, stream;
};

}  // namespace

void register_layer_ops() {
  const std::vector<const char*> norm_inputs = {"x: float", "weight: float", "bias: float"};
  const std::vector<const char*> grad_inputs = {"x: float", "weight: float", "dy: float"};
  register_op<Norm<false>>({"LlmkitRmsNorm", norm_inputs, {"y: float"}, {"eps: float"}});
  register_op<Norm<true>>({"LlmkitLayerNorm", norm_inputs, {"y: float"}, {"eps: float"}});
  register_op<NormGrad<false>>(
      {"LlmkitRmsNormGrad", grad_inputs, {"gradient: float"}, {"eps: float", "of_weight: bool"}});
  register_op<NormGrad<true>>(
      {"LlmkitLayerNormGrad", grad_inputs, {"gradient: float"}, {"eps: float", "of_weight: bool"}});
  register_op<Rope>(
      {"LlmkitRope", {"x: float", "cos: float", "sin: float"}, {"y: float"}, {"inverse: bool"}});
  register_op<GatedMlp>(
      {"LlmkitGatedMlp", {"gate: float", "up: float"}, {"y: float"}, {"activation: int"}});
  register_op<GatedMlpGrad>({"LlmkitGatedMlpGrad",
                             {"gate: float", "up: float", "dy: float"},
                             {"dgate: float", "dup: float"},
                             {"activation: int"}});
  register_op<Hold>({"LlmkitHold", {"x: float"}, {"y: float"}, {}});
  register_op<Dropout>({"LlmkitDropout",
                        {"x: float", "keys: int32"},
                        {"y: float"},
                        {"rate: list(int)", "seed: int", "stream: int"}});
}

}  // namespace llmkit::tensorflow
