#include "cuda/activation/activation.h"
#include "cuda/activation/functions.h"
#include "cuda/base/fours.h"

namespace llmkit::cuda {
namespace {

template <class F, typename X, typename Y>
__global__ void __launch_bounds__(kElementThreads) activation_kernel(size_t n, const X* x, Y* y) {
  each_four(n, [=](size_t i) {
    store_floats(y, i, n, map_four([](float v) { return F::value(v); }, load_floats(x, i, n)));
  });
}

template <class F, typename X>
__global__ void __launch_bounds__(kElementThreads)
    activation_grad_kernel(size_t n, const X* x, const float* dy, float* dx) {
  each_four(n, [=](size_t i) {
    const auto gradient = [](float v, float d) { return d * F::point(v).slope; };
    store_four(dx, i, n, map_four(gradient, load_floats(x, i, n), load_four(dy, i, n)));
  });
}

}  // namespace

cudaError_t activation(Activation f, size_t n, const ConstElements& x, const Elements& y,
                       cudaStream_t stream) {
  return with_activation(f, [&](auto function) {
    return with_elements(x, [&](const auto* from) {
      return with_elements(y, [&](auto* to) {
        using X = ElementOf<decltype(from)>;
        using Y = ElementOf<decltype(to)>;
        return launch(activation_kernel<decltype(function), X, Y>, over_elements(n, stream), n,
                      from, to);
      });
    });
  });
}

cudaError_t activation_grad(Activation f, size_t n, const ConstElements& x, const float* dy,
                            float* dx, cudaStream_t stream) {
  return with_activation(f, [&](auto function) {
    return with_elements(x, [&](const auto* from) {
      using X = ElementOf<decltype(from)>;
      return launch(activation_grad_kernel<decltype(function), X>, over_elements(n, stream), n,
                    from, dy, dx);
    });
  });
}

}  // namespace llmkit::cuda
