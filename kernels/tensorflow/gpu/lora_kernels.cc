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

struct LoraLinear : Lora {
  using Lora::Lora;

  void operator()(Call& call) const {
    const Operands w = operands(call, 2);
    const LoraArgs p = lora_arguments(call, w.pair.weight.rows, w.pair.weight.cols, w.pair.rank);
    void* const workspace = call.scratch(cuda::lora_linear_workspace(w.pair, p));
    Call::check(cuda::lora_linear(w.pair, p, workspace, call.stream()));
  }
};

struct LoraLinearGrad : Lora {
  explicit LoraLinearGrad(const Attributes& attributes)
      : Lora(attributes), whole(attributes.flag("whole")) {}

  void operator()(Call& call) const {
    const Operands w = operands(call, 3);
    const LoraGradArgs p =
        lora_grad_arguments(call, w.pair.weight.rows, w.pair.weight.cols, w.pair.rank, whole);
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
