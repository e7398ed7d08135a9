#include "cuda/activation/activation.h"
#include "cuda/activation/functions.h"
#include "cuda/base/fours.h"
#include "cuda/base/instructions.h"

namespace llmkit::cuda {
namespace {

template <class F, typename X, typename Y>
__global__ void __launch_bounds__(kElementThreads)
    gated_kernel(size_t n, const X* gate, const X* up, Y* y, bf16* rounded) {
  let_next_begin();
  wait_for_inputs();
  each_four(n, [=](size_t i) {
    const Four<float> product = map_four([](float g, float u) { return F::value(g) * u; },
                                         load_floats(gate, i, n), load_floats(up, i, n));
    store_floats(y, i, n, product);
    if (rounded != nullptr) store_floats(rounded, i, n, product);
  });
}

template <class F, typename X>
__global__ void __launch_bounds__(kElementThreads)
    gated_grad_kernel(size_t n, const X* gates, const X* ups, const float* dys, float* dgate,
                      float* dup) {
  each_four(n, [=](size_t i) {
    const Four<float> gate = load_floats(gates, i, n), up = load_floats(ups, i, n);
    const Four<float> dy = load_four(dys, i, n);
    Four<float> of_gate, of_up;
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const Point at = F::point(gate.at[e]);
      of_gate.at[e] = dy.at[e] * up.at[e] * at.slope;
      of_up.at[e] = dy.at[e] * at.value;
    }
    store_four(dgate, i, n, of_gate);
    store_four(dup, i, n, of_up);
  });
}

}  // namespace

cudaError_t gated_mlp(Activation f, size_t n, const ConstElements& gate, const ConstElements& up,
                      const Elements& y, bf16* rounded, cudaStream_t stream) {
  if (gate.is_bf16 != up.is_bf16) return cudaErrorInvalidValue;
  Launch blocks = over_elements(n, stream);
  blocks.early = true;
  return with_activation(f, [&](auto function) {
    return with_elements(gate, [&](const auto* from) {
      return with_elements(y, [&](auto* to) {
        using X = ElementOf<decltype(from)>;
        using Y = ElementOf<decltype(to)>;
        return launch(gated_kernel<decltype(function), X, Y>, blocks, n, from,
                      static_cast<const X*>(up.data), to, rounded);
      });
    });
  });
}

cudaError_t gated_mlp_grad(Activation f, size_t n, const GatedMlpGrad& args, cudaStream_t stream) {
  if (args.gate.is_bf16 != args.up.is_bf16) return cudaErrorInvalidValue;
  return with_activation(f, [&](auto function) {
    return with_elements(args.gate, [&](const auto* gate) {
      using X = ElementOf<decltype(gate)>;
      return launch(gated_grad_kernel<decltype(function), X>, over_elements(n, stream), n, gate,
                    static_cast<const X*>(args.up.data), args.dy, args.dgate, args.dup);
    });
  });
}

}  // namespace llmkit::cuda
