#include "cuda/base/fours.h"
#include "cuda/base/instructions.h"
#include "cuda/rope/rope.h"

namespace llmkit::cuda {
namespace {

/// Turns columns col to col + 3 of both halves of a head.
template <typename X, typename Y>
__device__ __forceinline__ void turn(const RopeArgs& p, const X* x, Y* y, size_t position,
                                     size_t head, size_t col) {
  const Four<float> cosine = load_four(p.cos + position * p.half, col, p.half);
  const Four<float> sine = load_four(p.sin + position * p.half, col, p.half);
  const size_t offset = (position * p.heads + head) * p.head_size;
  const Four<float> a = load_floats(x + offset, col, p.half);
  const Four<float> b = load_floats(x + offset + p.half, col, p.half);
  const float direction = p.inverse ? -1 : 1;
  const auto first = [=](float u, float v, float c, float s) {
    return u * c - v * (s * direction);
  };
  const auto second = [=](float u, float v, float c, float s) {
    return v * c + u * (s * direction);
  };
  store_floats(y + offset, col, p.half, map_four(first, a, b, cosine, sine));
  store_floats(y + offset + p.half, col, p.half, map_four(second, a, b, cosine, sine));
}

/// Threads lie along half a head, then across the heads; a block goes round over positions.
template <typename X, typename Y>
__global__ void __launch_bounds__(kElementThreads) rope_kernel(RopeArgs p, const X* x, Y* y) {
  let_next_begin();
  wait_for_inputs();
  const size_t rest = p.head_size - 2 * p.half;
  for (size_t position = blockIdx.x; position < p.positions; position += gridDim.x)
    for (size_t head = size_t{blockIdx.y} * blockDim.y + threadIdx.y; head < p.heads;
         head += size_t{gridDim.y} * blockDim.y) {
      for (size_t col = 4 * threadIdx.x; col < p.half; col += 4 * blockDim.x)
        turn(p, x, y, position, head, col);
      if (p.y.data == p.x.data) continue;
      const size_t offset = (position * p.heads + head) * p.head_size + 2 * p.half;
      for (size_t col = 4 * threadIdx.x; col < rest; col += 4 * blockDim.x)
        store_floats(y + offset, col, rest, load_floats(x + offset, col, rest));
    }
}

}  // namespace

cudaError_t rope(const RopeArgs& args, cudaStream_t stream) {
  Launch blocks =
      over_rows(args.heads, std::max(args.half, args.head_size - 2 * args.half), stream);
  blocks.grid.x = static_cast<unsigned>(std::min(args.positions, size_t{1} << 20));
  blocks.early = true;
  return with_elements(args.x, [&](const auto* x) {
    return with_elements(args.y, [&](auto* y) {
      return launch(rope_kernel<ElementOf<decltype(x)>, ElementOf<decltype(y)>>, blocks, args, x,
                    y);
    });
  });
}

}  // namespace llmkit::cuda
