#include "cuda/linear/linear.h"
#include "cuda/packed_linear/packed_linear.h"
#include "cuda/weight/weight.h"
#include "tensorflow/gpu/device_weight.h"

namespace llmkit::tensorflow_gpu {
namespace {

/// y_i [..., rows_i] = x [..., cols] · weight_iᵀ + bias_i: the biases from input 1 on.
void multiply(Call& call, const std::vector<int64_t>& numbers) {
  const Input<const float> x = call.floats(0);
  std::vector<std::shared_ptr<const DeviceWeight>> weights;  // stay while the call lasts
  std::vector<cuda::PackedLayer> packed;
  size_t m = 0;
  for (const int64_t number : numbers) {
    const int index = static_cast<int>(weights.size());
    const DeviceWeight& w = *weights.emplace_back(device_weight(call, number));
    m = quotient(x.size, w.view.cols, "x");
    const float* const bias = call.optional_floats(1 + index, w.view.rows, "bias");
    float* const y = call.output(index, with_last(x.shape, w.view.rows));
    if (w.packed != nullptr) {
      packed.push_back({w.packed.get(), bias, nullptr, y, {}});
      continue;
    }
    const cuda::LinearArgs args = {w.view, m, x.data, bias, nullptr, y};
    void* const workspace = call.scratch(cuda::linear_workspace(args));
    Call::check(cuda::linear(args, workspace, call.stream()));
  }
  const cuda::PackedLinearArgs args = {m, x.data, packed.data(), packed.size()};
  void* const workspace = call.scratch(cuda::packed_linears_workspace(args));
  Call::check(cuda::packed_linears(args, workspace, call.stream()));
}

struct Linear {
  explicit Linear(const Attributes& attributes) : weight(attributes.integer("weight")) {}

  void operator()(Call& call) const { multiply(call, {weight}); }

  int64_t weight;
};

/// Several of them of one x, which is rounded once.
struct MergedLinear {
  explicit MergedLinear(const Attributes& attributes) : weights(attributes.integers("weights")) {}

  void operator()(Call& call) const { multiply(call, weights); }

  std::vector<int64_t> weights;
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

/// The rows ids of the weight, in float32; NaN for an id that is no row.
struct Embedding {
  explicit Embedding(const Attributes& attributes) : weight(attributes.integer("weight")) {}

  void operator()(Call& call) const {
    const Input<const int32_t> ids = call.ints(0);
    const auto w = device_weight(call, weight);
    if (w->packed != nullptr) throw OpError("a packed weight has no rows to read");
    Shape shape = ids.shape;
    shape.push_back(static_cast<int64_t>(w->view.cols));
    const cuda::DequantizeArgs args = {w->view, ids.size, ids.data, 0, call.output(0, shape)};
    Call::check(cuda::dequantize_rows(args, call.stream()));
  }

  int64_t weight;
};

}  // namespace

void register_linear_kernels() {
  register_kernel<Linear>("LlmkitLinear");
  register_kernel<MergedLinear>("LlmkitMergedLinear");
  register_kernel<LinearGradInput>("LlmkitLinearGradInput");
  register_kernel<Embedding>("LlmkitEmbedding");
}

}  // namespace llmkit::tensorflow_gpu
