#include "cpu/adamw/dynamic_map.h"
#include "cpu/adamw/factors.h"
#include "cuda/adamw/adamw.h"
#include "cuda/adamw/step.h"
#include "cuda/base/fours.h"
#include "cuda/base/reduce.h"

namespace llmkit::cuda {
namespace {

/// A warp has a block of 256 values: two fours for each lane.
using T = Team<kWarp>;
constexpr int kFours = kStateBlock / (4 * kWarp);

/// A map in shared memory.
struct SharedMap {
  const float* values;

  /// The code of the nearest value; of two as near, the lower.
  __device__ uint8_t code_of(float x) const {
    int below = 0;  // values[below] <= x, or below is 0
#pragma unroll
    for (int half = 128; half > 0; half /= 2)
      if (values[below + half] <= x) below += half;
    const int above = below < 255 ? below + 1 : 255;
    return static_cast<uint8_t>(values[above] - x < x - values[below] ? above : below);
  }
};

/// A block's values of one state, of which lane l has fours l and l + 32.
struct BlockState {
  Four<float> fours[kFours];

  __device__ void read(const SharedMap& map, const uint8_t* codes, float scale, size_t begin,
                       size_t n) {
#pragma unroll
    for (int k = 0; k < kFours; ++k)
      fours[k] = map_four([&](uint8_t code) { return map.values[code] * scale; },
                          load_four(codes, begin + 4 * (T::rank() + k * kWarp), n));
  }
  __device__ void write(const SharedMap& map, uint8_t* codes, float* scale, size_t begin,
                        size_t n) const {
    float largest = 0;
#pragma unroll
    for (int k = 0; k < kFours; ++k)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        if (begin + 4 * (T::rank() + k * kWarp) + e < n)
          largest = fmaxf(largest, fabsf(fours[k].at[e]));
    largest = T::maximum(largest);
    if (T::rank() == 0) *scale = largest;
    const auto code_of = [&](float v) { return map.code_of(largest > 0 ? v / largest : 0); };
#pragma unroll
    for (int k = 0; k < kFours; ++k)
      store_four(codes, begin + 4 * (T::rank() + k * kWarp), n, map_four(code_of, fours[k]));
  }
};

struct Maps {
  DynamicMap of_m = DynamicMap(true), of_v = DynamicMap(false);
};

__global__ void __launch_bounds__(T::kBlock)
    adamw_8bit_kernel(size_t n, Adamw8State s, AdamwFactors factors, Maps maps) {
  __shared__ float m_values[256], v_values[256];
  m_values[threadIdx.x] = maps.of_m.values[threadIdx.x];
  v_values[threadIdx.x] = maps.of_v.values[threadIdx.x];
  __syncthreads();
  const SharedMap of_m = {m_values}, of_v = {v_values};
  const size_t block = T::row(), begin = block * kStateBlock;
  if (begin >= n) return;
  BlockState m, v;
  m.read(of_m, s.m, s.m_scales[block], begin, n);
  v.read(of_v, s.v, s.v_scales[block], begin, n);
#pragma unroll
  for (int k = 0; k < kFours; ++k) {
    const size_t i = begin + 4 * (T::rank() + k * kWarp);
    const Four<float> gradient = load_four(s.gradient, i, n);
    Four<float> parameter = load_four(s.parameter, i, n);
#pragma unroll
    for (int e = 0; e < 4; ++e)
      adamw_step(factors, gradient.at[e], parameter.at[e], m.fours[k].at[e], v.fours[k].at[e]);
    store_four(s.parameter, i, n, parameter);
  }
  m.write(of_m, s.m, s.m_scales + block, begin, n);
  v.write(of_v, s.v, s.v_scales + block, begin, n);
}

}  // namespace

cudaError_t adamw_8bit(size_t n, const Adamw8State& state, const AdamwHyper& hyper,
                       cudaStream_t stream) {
  static const Maps maps;
  return launch(adamw_8bit_kernel, T::over(blocks_of(n, kStateBlock), stream), n, state,
                adamw_factors(hyper), maps);
}

}  // namespace llmkit::cuda
