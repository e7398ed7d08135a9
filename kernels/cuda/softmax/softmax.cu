#include "cuda/base/fours.h"
#include "cuda/base/reduce.h"
#include "cuda/softmax/softmax.h"

namespace llmkit::cuda {
namespace {

/// Every thread reads and writes the same elements in each pass, so that y may be x.
template <class T>
__global__ void __launch_bounds__(T::kBlock)
    softmax_kernel(size_t rows, size_t cols, const float* x_rows, float* y_rows) {
  const size_t row = T::row();
  if (row >= rows) return;
  const float* const x = x_rows + row * cols;
  float* const y = y_rows + row * cols;
  float largest = Largest::kNothing, total = 0;
  T::each_four(cols, [&](size_t i) {
    for (const float value : load_four(x, i, cols, Largest::kNothing).at)
      largest = fmaxf(largest, value);
  });
  largest = T::maximum(largest);
  T::each_four(cols, [&](size_t i) {
    const Four<float> e = map_four([&](float value) { return expf(value - largest); },
                                   load_four(x, i, cols, Largest::kNothing));
    for (const float value : e.at) total += value;
    store_four(y, i, cols, e);
  });
  total = T::sum(total);
  T::each_four(cols, [&](size_t i) {
    store_four(y, i, cols,
               map_four([&](float value) { return value / total; }, load_four(y, i, cols)));
  });
}

}  // namespace

cudaError_t softmax(size_t rows, size_t cols, const float* x, float* y, cudaStream_t stream) {
  return with_team(cols, [&](auto team) {
    return launch(softmax_kernel<decltype(team)>, team.over(rows, stream), rows, cols, x, y);
  });
}

}  // namespace llmkit::cuda
