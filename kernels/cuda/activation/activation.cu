#include "cuda/activation/activation.h"
#include "cuda/activation/functions.h"
#include "cuda/base/fours.h"

namespace llmkit::cuda {
namespace {

template <class F>
__global__ void __launch_bounds__(kElementThreads)
    activation_kernel(size_t n, const float* x, float* y) {
  each_four(n, [=](size_t i) {
    store_four(y, i, n, map_four([](float v) { return F::value(v); }, load_four(x, i, n)));
  });
}

template <class F>
__global__ void __launch_bounds__(kElementThreads)
    activation_grad_kernel(size_t n, const float* x, const float* dy, float* dx) {
  each_four(n, [=](size_t i) {
    const auto gradient = [](float v, float d) { return d * F::point(v).slope; };
    store_four(dx, i, n, map_four(gradient, load_four(x, i, n), load_four(dy, i, n)));
  });
}

}  // namespace

cudaError_t activation(Activation f, size_t n, const float* x, float* y, cudaStream_t stream) {
  return with_activation(f, [&](auto function) {
    return launch(activation_kernel<decltype(function)>, over_elements(n, stream), n, x, y);
  });
}

cudaError_t activation_grad(Activation f, size_t n, const float* x, const float* dy, float* dx,
                            cudaStream_t stream) {
  return with_activation(f, [&](auto function) {
    return launch(activation_grad_kernel<decltype(function)>, over_elements(n, stream), n, x, dy,
                  dx);
  });
}

}  // namespace llmkit::cuda
