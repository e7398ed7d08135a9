#include "cuda/base/fours.h"
#include "cuda/elementwise/elementwise.h"

namespace llmkit::cuda {
namespace {

template <typename X, typename Y>
__global__ void __launch_bounds__(kElementThreads) convert_kernel(size_t n, const X* x, Y* y) {
  each_four(n, [=](size_t i) { store_floats(y, i, n, load_floats(x, i, n)); });
}

}  // namespace

cudaError_t convert(size_t n, const ConstElements& x, const Elements& y, cudaStream_t stream) {
  return with_elements(x, [&](const auto* from) {
    return with_elements(y, [&](auto* to) {
      const auto kernel = convert_kernel<ElementOf<decltype(from)>, ElementOf<decltype(to)>>;
      return launch(kernel, over_elements(n, stream), n, from, to);
    });
  });
}

}  // namespace llmkit::cuda
