#include <cstring>

#include "cuda/adamw/adamw.h"
#include "cuda/cross_entropy/cross_entropy.h"
#include "tensorflow/gpu/device_weight.h"

namespace llmkit::tensorflow_gpu {
namespace {

/// The number of a weight that is trained: it comes as an input.
constexpr int64_t kTrained = -1;

/// Inputs h [M, cols], targets [M], the weight if it is trained, bias.
struct CrossEntropyOp {
  explicit CrossEntropyOp(const Attributes& attributes)
      : weight(attributes.integer("weight")), rounded(attributes.flag("rounded")) {}

  /// What a head points to must stay while the call lasts.
  struct Head {
    cuda::CrossEntropyArgs args;
    std::shared_ptr<const DeviceWeight> frozen;
  };

  Head head(Call& call) const {
    Head head;
    cuda::CrossEntropyArgs& p = head.args;
    if (weight == kTrained) {
      const Input<const float> values = call.floats(2);
      if (values.shape.size() != 2) throw OpError("the weight must be a matrix");
      p.head.weight = dense_view(values.data, static_cast<size_t>(values.shape[0]),
                                 static_cast<size_t>(values.shape[1]));
      p.head.rounded = rounded;
    } else {
      head.frozen = device_weight(call, weight);
      p.head.weight = head.frozen->view;
      p.head.packed = head.frozen->packed.get();
    }
    const Input<const float> h = call.floats(0);
    p.m = quotient(h.size, p.head.cols(), "h");
    p.h = h.data;
    p.head.bias = call.optional_floats(3, p.head.words(), "bias");
    p.targets = call.ints(1, p.m, "targets");
    return head;
  }

  int64_t weight;
  bool rounded;
};

struct CrossEntropy : CrossEntropyOp {
  using CrossEntropyOp::CrossEntropyOp;

  void operator()(Call& call) const {
    const Head head = this->head(call);
    const Shape shape = {static_cast<int64_t>(head.args.m)};
    float* const losses = call.output(0, shape);
    float* const log_sum_exp = call.output(1, shape);
    void* const workspace = call.scratch(cuda::cross_entropy_workspace(head.args));
    Call::check(cuda::cross_entropy(head.args, losses, log_sum_exp, workspace, call.stream()));
  }
};

/// dh; dweight of a trained weight and dbias of a bias, else empty.
struct CrossEntropyGrad : CrossEntropyOp {
  using CrossEntropyOp::CrossEntropyOp;

  void operator()(Call& call) const {
    const Head head = this->head(call);
    const cuda::CrossEntropyArgs& p = head.args;
    const auto cols = static_cast<int64_t>(p.head.cols());
    const auto words = static_cast<int64_t>(p.head.words());
    const bool trained = weight == kTrained, biased = p.head.bias != nullptr;
    cuda::CrossEntropyGradArgs grad;
    grad.log_sum_exp = call.floats(4, p.m, "logSumExp");
    grad.dlosses = call.floats(5, p.m, "dlosses");
    grad.dh = call.output(0, {static_cast<int64_t>(p.m), cols});
    float* const dweight = call.output(1, trained ? Shape{words, cols} : Shape{0});
    float* const dbias = call.output(2, biased ? Shape{words} : Shape{0});
    grad.dweight = trained ? dweight : nullptr;
    grad.dbias = biased ? dbias : nullptr;
    void* const workspace = call.scratch(cuda::cross_entropy_grad_workspace(p, grad));
    Call::check(cuda::cross_entropy_grad(p, grad, workspace, call.stream()));
  }
};

/// Inputs parameter, gradient, m, v, and AdamwHyper as pairs of int32 on the host; outputs
/// parameter, m and v of the next step.
struct Adamw {
  explicit Adamw(const Attributes&) {}

  void operator()(Call& call) const {
    const Input<const float> parameter = call.floats(0);
    const size_t n = parameter.size;
    AdamwHyper hyper;
    constexpr size_t kWords = sizeof hyper / sizeof(int32_t);
    std::memcpy(&hyper, call.host_ints(4, kWords, "hyper"), sizeof hyper);
    const auto next = [&](int output, const float* values) {
      float* const copy = call.output(output, parameter.shape);
      Call::check(cudaMemcpyAsync(copy, values, n * sizeof(float), cudaMemcpyDeviceToDevice,
                                  call.stream()));
      return copy;
    };
    const float* const gradient = call.floats(1, n, "gradient");
    float* const updated = next(0, parameter.data);
    float* const m = next(1, call.floats(2, n, "m"));
    float* const v = next(2, call.floats(3, n, "v"));
    Call::check(cuda::adamw(n, {updated, gradient, m, v}, hyper, call.stream()));
  }
};

}  // namespace

void register_training_kernels() {
  register_kernel<CrossEntropy>("LlmkitCrossEntropy");
  register_kernel<CrossEntropyGrad>("LlmkitCrossEntropyGrad");
  register_kernel<Adamw>("LlmkitAdamW", {"hyper"});
}

}  // namespace llmkit::tensorflow_gpu
