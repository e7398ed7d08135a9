#include "cuda/norm/norm.h"
#include "cuda/rope/rope.h"
#include "tensorflow/gpu/kernel.h"

namespace llmkit::tensorflow_gpu {
namespace {

struct RmsNorm {
  explicit RmsNorm(const Attributes& attributes) : eps(attributes.real("eps")) {}

  NormArgs arguments(const Input<const float>& x, const Input<const float>& weight) const {
    return {quotient(x.size, weight.size, "x"), weight.size, x.data, weight.data, eps, false};
  }

  void operator()(Call& call) const {
    const Input<const float> x = call.floats(0);
    const NormArgs args = arguments(x, call.floats(1));
    const float* const bias = call.optional_floats(2, args.cols, "bias");
    Call::check(cuda::norm(args, bias, call.output(0, x.shape), nullptr, call.stream()));
  }

  float eps;
};

/// The gradient of x, or with `of_weight` that of the weight.
struct RmsNormGrad : RmsNorm {
  explicit RmsNormGrad(const Attributes& attributes)
      : RmsNorm(attributes), of_weight(attributes.flag("of_weight")) {}

  void operator()(Call& call) const {
    const Input<const float> x = call.floats(0), weight = call.floats(1);
    cuda::NormGradArgs grad = {};
    grad.norm = arguments(x, weight);
    grad.dy = call.floats(2, x.size, "dy");
    float* const gradient = call.output(0, of_weight ? weight.shape : x.shape);
    grad.dx = of_weight ? static_cast<float*>(call.scratch(x.size * sizeof(float))) : gradient;
    grad.dweight = of_weight ? gradient : nullptr;
    void* const workspace = call.scratch(cuda::norm_grad_workspace(grad));
    Call::check(cuda::norm_grad(grad, workspace, call.stream()));
  }

  bool of_weight;
};

struct Rope {
  explicit Rope(const Attributes& attributes) : inverse(attributes.flag("inverse")) {}

  void operator()(Call& call) const {
    const Input<const float> x = call.floats(0), cos = call.floats(1);
    if (x.shape.size() != 4 || cos.shape.size() != 3)
      throw OpError("x must be [B, T, H, E], cos [B, T, R/2]");
    RopeArgs p = {};
    p.positions = static_cast<size_t>(x.shape[0] * x.shape[1]);
    p.heads = static_cast<size_t>(x.shape[2]);
    p.head_size = static_cast<size_t>(x.shape[3]);
    p.half = static_cast<size_t>(cos.shape[2]);
    expect(cos.size, p.positions * p.half, "cos");
    if (2 * p.half > p.head_size) throw OpError("cos is wider than half a head");
    p.x = x.data;
    p.cos = cos.data;
    p.sin = call.floats(2, cos.size, "sin");
    p.y = call.output(0, x.shape);
    p.inverse = inverse;
    Call::check(cuda::rope(p, call.stream()));
  }

  bool inverse;
};

}  // namespace

void register_layer_kernels() {
  register_kernel<RmsNorm>("LlmkitRmsNorm");
  register_kernel<RmsNormGrad>("LlmkitRmsNormGrad");
  register_kernel<Rope>("LlmkitRope");
}

}  // namespace llmkit::tensorflow_gpu
