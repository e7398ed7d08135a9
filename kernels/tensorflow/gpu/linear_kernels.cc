#include "cuda/linear/linear.h"
#include "cuda/packed_linear/packed_linear.h"
#include "tensorflow/gpu/device_weight.h"

namespace llmkit::tensorflow_gpu {
namespace {

/// y [..., rows] = x [..., cols] · weightᵀ + bias
struct Linear {
  explicit Linear(const Attributes& attributes) : weight(attributes.integer("weight")) {}

  void operator()(Call& call) const {
    const Input<const float> x = call.floats(0);
    const auto w = device_weight(call, weight);
    const size_t m = quotient(x.size, w->view.cols, "x");
    const float* const bias = call.optional_floats(1, w->view.rows, "bias");
    float* const y = call.output(0, with_last(x.shape, w->view.rows));
    if (w->packed != nullptr) {
      const cuda::PackedLayer layer = {w->packed.get(), bias, nullptr, y, {}};
      const cuda::PackedLinearArgs args = {m, x.data, &layer, 1};
      void* const workspace = call.scratch(cuda::packed_linears_workspace(args));
      return Call::check(cuda::packed_linears(args, workspace, call.stream()));
    }
    const cuda::LinearArgs args = {w->view, m, x.data, bias, nullptr, y};
    void* const workspace = call.scratch(cuda::linear_workspace(args));
    Call::check(cuda::linear(args, workspace, call.stream()));
  }

  int64_t weight;
};

/// dx [..., cols] = dy [..., rows] · weight
struct LinearGradInput {
  explicit LinearGradInput(const Attributes& attributes) : weight(attributes.integer("weight")) {}

  void operator()(Call& call) const {
    const Input<const float> dy = call.floats(0);
    const auto w = device_weight(call, weight);
    const size_t m = quotient(dy.size, w->view.rows, "dy");
    float* const dx = call.output(0, with_last(dy.shape, w->view.cols));
    if (w->packed != nullptr) {
      const cuda::PackedGradInputArgs args = {m, dy.data, w->packed.get(), dx, {}};
      void* const workspace = call.scratch(cuda::packed_grad_input_workspace(args));
      return Call::check(cuda::packed_grad_input(args, workspace, call.stream()));
    }
    const cuda::LinearGradInputArgs args = {w->view, m, dy.data, dx};
    void* const workspace = call.scratch(cuda::linear_grad_input_workspace(args));
    Call::check(cuda::linear_grad_input(args, workspace, call.stream()));
  }

  int64_t weight;
};

}  // namespace

void register_linear_kernels() {
  register_kernel<Linear>("LlmkitLinear");
  register_kernel<LinearGradInput>("LlmkitLinearGradInput");
}

}  // namespace llmkit::tensorflow_gpu
