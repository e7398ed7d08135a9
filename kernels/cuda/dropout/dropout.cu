#include "cuda/base/fours.h"
#include "cuda/dropout/dropout.h"

namespace llmkit::cuda {
namespace {

__host__ __device__ __forceinline__ uint32_t mix(uint32_t h) {
  h = (h ^ h >> 16) * 0x7feb352du;
  h = (h ^ h >> 15) * 0x846ca68bu;
  return h ^ h >> 16;
}

struct Mask {
  uint32_t of_stream;  // the hash of seed and stream
  uint32_t threshold;
  float scale;
};

template <typename X>
__global__ void __launch_bounds__(kElementThreads)
    dropout_kernel(DropoutArgs p, const X* x, Mask mask) {
  each_row_four(p.rows, p.cols, [&](size_t row, size_t col) {
    const uint32_t of_example = mix(mask.of_stream + static_cast<uint32_t>(p.keys[2 * row]));
    const uint32_t of_row = mix(of_example + static_cast<uint32_t>(p.keys[2 * row + 1]));
    Four<float> values = load_floats(x + row * p.cols, col, p.cols);
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const uint32_t hash = mix(of_row + static_cast<uint32_t>(col + e) * 0x9e3779b9u);
      values.at[e] = hash >> 8 < mask.threshold ? 0 : values.at[e] * mask.scale;
    }
    store_four(p.y + row * p.cols, col, p.cols, values);
  });
}

}  // namespace

cudaError_t dropout(const DropoutArgs& args, cudaStream_t stream) {
  const Mask mask = {mix(mix(args.seed) + args.stream),
                     static_cast<uint32_t>(args.rate * 0x1p24 + 0.5),
                     static_cast<float>(1 / (1 - args.rate))};
  return with_elements(args.x, [&](const auto* x) {
    return launch(dropout_kernel<ElementOf<decltype(x)>>, over_rows(args.rows, args.cols, stream),
                  args, x, mask);
  });
}

}  // namespace llmkit::cuda
