#include "cuda/activation/activation.h"
#include "cuda/dropout/dropout.h"
#include "cuda/elementwise/elementwise.h"
#include "cuda/norm/norm.h"
#include "cuda/rope/rope.h"
#include "tensorflow/gpu/kernel.h"

namespace llmkit::tensorflow_gpu {
namespace {

template <bool kCentered>
struct Norm : NormOp<kCentered> {
  using NormOp<kCentered>::NormOp;

  void operator()(Call& call) const {
    const Input<const float> x = call.floats(0);
    const NormArgs args = this->arguments(x, call.floats(1));
    const float* const bias = call.optional_floats(2, args.cols, "bias");
    Call::check(cuda::norm(args, bias, call.output(0, x.shape), nullptr, call.stream()));
  }
};

/// The gradient of x, or with `of_weight` that of the weight.
template <bool kCentered>
struct NormGrad : Norm<kCentered> {
  explicit NormGrad(const Attributes& attributes)
      : Norm<kCentered>(attributes), of_weight(attributes.flag("of_weight")) {}

  void operator()(Call& call) const {
    const Input<const float> x = call.floats(0), weight = call.floats(1);
    cuda::NormGradArgs grad = {};
    grad.norm = this->arguments(x, weight);
    grad.dy = call.floats(2, x.size, "dy");
    float* const gradient = call.output(0, of_weight ? weight.shape : x.shape);
    grad.dx = of_weight ? nullptr : gradient;
    grad.dweight = of_weight ? gradient : nullptr;
    void* const workspace = call.scratch(cuda::norm_grad_workspace(grad));
    Call::check(cuda::norm_grad(grad, workspace, call.stream()));
  }

  bool of_weight;
};

struct Rope {
  explicit Rope(const Attributes& attributes) : inverse(attributes.flag("inverse")) {}

  void operator()(Call& call) const {
    Call::check(cuda::rope(rope_arguments(call, inverse), call.stream()));
  }

  bool inverse;
};

struct GatedMlp {
  explicit GatedMlp(const Attributes& attributes) : activation(activation_of(attributes)) {}

  void operator()(Call& call) const {
    const Input<const float> gate = call.floats(0);
    const float* const up = call.floats(1, gate.size, "up");
    float* const y = call.output(0, gate.shape);
    Call::check(cuda::gated_mlp(activation, gate.size, gate.data, up, y, nullptr, call.stream()));
  }

  Activation activation;
};

struct GatedMlpGrad : GatedMlp {
  using GatedMlp::GatedMlp;

  void operator()(Call& call) const {
    const Input<const float> gate = call.floats(0);
    const size_t n = gate.size;
    const float* const up = call.floats(1, n, "up");
    const float* const dy = call.floats(2, n, "dy");
    float* const dgate = call.output(0, gate.shape);
    float* const dup = call.output(1, gate.shape);
    const llmkit::GatedMlpGrad args = {gate.data, up, dy, dgate, dup};
    Call::check(cuda::gated_mlp_grad(activation, n, args, call.stream()));
  }
};

/// x rounded to bf16. TensorFlow's tensors stay float32.
struct Hold {
  explicit Hold(const Attributes&) {}

  void operator()(Call& call) const {
    const Input<const float> x = call.floats(0);
    float* const y = call.output(0, x.shape);
    auto* const halves = static_cast<uint16_t*>(call.scratch(x.size * sizeof(uint16_t)));
    Call::check(cuda::convert(x.size, x.data, halves, call.stream()));
    Call::check(cuda::convert(x.size, halves, y, call.stream()));
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
    DropoutArgs p = {};
    p.rows = quotient(keys.size, 2, "keys");
    p.cols = p.rows == 0 ? 0 : quotient(x.size, p.rows, "x");
    p.x = x.data;
    p.keys = keys.data;
    p.rate = rate;
    p.seed = seed;
    p.stream = stream;
    p.y = call.output(0, x.shape);
    Call::check(cuda::dropout(p, call.stream()));
  }

  double rate;
  uint32_t seed, stream;
};

}  // namespace

void register_layer_kernels() {
  register_kernel<Norm<false>>("LlmkitRmsNorm");
  register_kernel<Norm<true>>("LlmkitLayerNorm");
  register_kernel<NormGrad<false>>("LlmkitRmsNormGrad");
  register_kernel<NormGrad<true>>("LlmkitLayerNormGrad");
  register_kernel<Rope>("LlmkitRope");
  register_kernel<GatedMlp>("LlmkitGatedMlp");
  register_kernel<GatedMlpGrad>("LlmkitGatedMlpGrad");
  register_kernel<Hold>("LlmkitHold");
  register_kernel<Dropout>("LlmkitDropout");
}

}  // namespace llmkit::tensorflow_gpu
