#include "cuda/lora_linear/lora_linear.h"
#include "tensorflow/gpu/device_weight.h"

namespace llmkit::tensorflow_gpu {
namespace {

/// What the ops with LoRA share.
struct Lora {
  explicit Lora(const Attributes& attributes)
      : weight(attributes.integer("weight")), scale(attributes.real("scale")) {}

  /// What it points to must stay while the call lasts.
  struct Operands {
    cuda::LoraWeight pair;
    std::shared_ptr<const DeviceWeight> frozen;
  };

  /// a [rank, cols] is input `index`, b [rows, rank] the next.
  Operands operands(Call& call, int index) const {
    Operands w;
    w.frozen = device_weight(call, weight);
    w.pair.weight = w.frozen->view;
    w.pair.packed = w.frozen->packed.get();
    const Input<const float> a = call.floats(index);
    w.pair.rank = quotient(a.size, w.pair.weight.cols, "a");
    w.pair.a = a.data;
    w.pair.b = call.floats(index + 1, w.pair.weight.rows * w.pair.rank, "b");
    w.pair.scale = scale;
    return w;
  }

  int64_t weight;
  float scale;
};

Shape shape(size_t rows, size_t cols) {
  return {static_cast<int64_t>(rows), static_cast<int64_t>(cols)};
}

/// y = x · weightᵀ + bias + low · bᵀ, low [M, rank] = scale · dropped · aᵀ
struct LoraLinear : Lora {
  using Lora::Lora;

  void operator()(Call& call) const {
    const Input<const float> x = call.floats(0);
    const Operands w = operands(call, 2);
    const size_t rows = w.pair.weight.rows;
    LoraArgs p = {};
    p.m = quotient(x.size, w.pair.weight.cols, "x");
    p.x = x.data;
    const float* const dropped = call.optional_floats(1, x.size, "dropped");
    p.dropped = dropped == nullptr ? x.data : dropped;
    p.bias = call.optional_floats(4, rows, "bias");
    p.y = call.output(0, with_last(x.shape, rows));
    p.low = call.output(1, shape(p.m, w.pair.rank));
    void* const workspace = call.scratch(cuda::lora_linear_workspace(w.pair, p));
    Call::check(cuda::lora_linear(w.pair, p, workspace, call.stream()));
  }
};

/// Gradients of x, a, b, and of dropped unless it was x: then that output is empty.
struct LoraLinearGrad : Lora {
  explicit LoraLinearGrad(const Attributes& attributes)
      : Lora(attributes), whole(attributes.flag("whole")) {}

  void operator()(Call& call) const {
    const Input<const float> dropped = call.floats(1);
    const Operands w = operands(call, 3);
    const size_t rows = w.pair.weight.rows, cols = w.pair.weight.cols;
    LoraGradArgs p = {};
    p.m = quotient(dropped.size, cols, "dropped");
    p.dy = call.floats(0, p.m * rows, "dy");
    p.dropped = dropped.data;
    p.low = call.floats(2, p.m * w.pair.rank, "low");
    p.dx = call.output(0, dropped.shape);
    p.da = call.output(1, shape(w.pair.rank, cols));
    p.db = call.output(2, shape(rows, w.pair.rank));
    float* const ddropped = call.output(3, whole ? Shape{0} : dropped.shape);
    p.ddropped = whole ? nullptr : ddropped;
    void* const workspace = call.scratch(cuda::lora_linear_grad_workspace(w.pair, p));
    Call::check(cuda::lora_linear_grad(w.pair, p, workspace, call.stream()));
  }

  bool whole;
};

}  // namespace

void register_lora_kernels() {
  register_kernel<LoraLinear>("LlmkitLoraLinear");
  register_kernel<LoraLinearGrad>("LlmkitLoraLinearGrad");
}

}  // namespace llmkit::tensorflow_gpu
