#include "cuda/activation/activation.h"
#include "cuda/activation/functions.h"
#include "cuda/base/fours.h"
#include "cuda/base/instructions.h"

namespace llmkit::cuda {
namespace {

template <class F>
__device__ __forceinline__ Four<float> gated(const Four<float>& gate, const Four<float>& up) {
  return map_four([](float g, float u) { return F::value(g) * u; }, gate, up);
}

template <class F, typename X, typename Y>
__global__ void __launch_bounds__(kElementThreads)
    gated_kernel(size_t n, const X* gate, const X* up, Y* y, bf16* rounded) {
  let_next_begin();
  wait_for_inputs();
  each_four(n, [=](size_t i) {
    const Four<float> product = gated<F>(load_floats(gate, i, n), load_floats(up, i, n));
    store_floats(y, i, n, product);
    if (rounded != nullptr) store_floats(rounded, i, n, product);
  });
}

template <class F>
__global__ void __launch_bounds__(kElementThreads)
    gated_keep_kernel(size_t n, const float* gates, const float* ups, float* y, uint16_t* kept) {
  each_four(n, [=](size_t i) {
    const Four<float> gate = load_four(gates, i, n), up = load_four(ups, i, n);
    store_four(kept, i, n, to_bf16(gate));
    store_four(kept + n, i, n, to_bf16(up));
    store_four(y, i, n, gated<F>(gate, up));
  });
}

template <class F>
__global__ void __launch_bounds__(kElementThreads)
    gated_kept_kernel(size_t n, const uint16_t* kept, float* y) {
  each_four(n, [=](size_t i) {
    store_four(y, i, n,
               gated<F>(from_bf16(load_four(kept, i, n)), from_bf16(load_four(kept + n, i, n))));
  });
}

template <class F>
__device__ __forceinline__ void write_gradients(size_t i, size_t n, const Four<float>& gate,
                                                const Four<float>& up, const Four<float>& dy,
                                                float* dgate, float* dup) {
  Four<float> of_gate, of_up;
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    const Point at = F::point(gate.at[e]);
    of_gate.at[e] = dy.at[e] * up.at[e] * at.slope;
    of_up.at[e] = dy.at[e] * at.value;
  }
  store_four(dgate, i, n, of_gate);
  store_four(dup, i, n, of_up);
}

template <class F, typename X>
__global__ void __launch_bounds__(kElementThreads)
    gated_grad_kernel(size_t n, const X* gate, const X* up, const float* dy, float* dgate,
                      float* dup) {
  each_four(n, [=](size_t i) {
    write_gradients<F>(i, n, load_floats(gate, i, n), load_floats(up, i, n), load_four(dy, i, n),
                       dgate, dup);
  });
}

template <class F>
__global__ void __launch_bounds__(kElementThreads)
    gated_kept_grad_kernel(size_t n, GatedMlpKeptGrad p) {
  each_four(n, [=](size_t i) {
    write_gradients<F>(i, n, from_bf16(load_four(p.kept, i, n)),
                       from_bf16(load_four(p.kept + n, i, n)), load_four(p.dy, i, n), p.dgate,
                       p.dup);
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

cudaError_t gated_mlp_keep(Activation f, size_t n, const float* gate, const float* up, float* y,
                           uint16_t* kept, cudaStream_t stream) {
  return with_activation(f, [&](auto function) {
    return launch(gated_keep_kernel<decltype(function)>, over_elements(n, stream), n, gate, up, y,
                  kept);
  });
}

cudaError_t gated_mlp_kept(Activation f, size_t n, const uint16_t* kept, float* y,
                           cudaStream_t stream) {
  return with_activation(f, [&](auto function) {
    return launch(gated_kept_kernel<decltype(function)>, over_elements(n, stream), n, kept, y);
  });
}

cudaError_t gated_mlp_kept_grad(Activation f, size_t n, const GatedMlpKeptGrad& args,
                                cudaStream_t stream) {
  return with_activation(f, [&](auto function) {
    return launch(gated_kept_grad_kernel<decltype(function)>, over_elements(n, stream), n, args);
  });
}

}  // namespace llmkit::cuda
