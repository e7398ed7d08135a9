#include "cpu/adamw/factors.h"
#include "cuda/adamw/adamw.h"
#include "cuda/adamw/step.h"
#include "cuda/base/fours.h"

namespace llmkit::cuda {
namespace {

__global__ void __launch_bounds__(kElementThreads)
    adamw_kernel(size_t n, AdamwState s, AdamwFactors factors) {
  each_four(n, [&](size_t i) {
    const Four<float> gradient = load_four(s.gradient, i, n);
    Four<float> parameter = load_four(s.parameter, i, n);
    Four<float> m = load_four(s.m, i, n), v = load_four(s.v, i, n);
#pragma unroll
    for (int e = 0; e < 4; ++e)
      adamw_step(factors, gradient.at[e], parameter.at[e], m.at[e], v.at[e]);
    store_four(s.parameter, i, n, parameter);
    store_four(s.m, i, n, m);
    store_four(s.v, i, n, v);
  });
}

}  // namespace

cudaError_t adamw(size_t n, const AdamwState& state, const AdamwHyper& hyper, cudaStream_t stream) {
  return launch(adamw_kernel, over_elements(n, stream), n, state, adamw_factors(hyper));
}

}  // namespace llmkit::cuda
