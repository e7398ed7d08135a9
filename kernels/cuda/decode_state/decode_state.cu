#include "cuda/base/launch.h"
#include "cuda/decode_state/decode_state.h"

namespace llmkit::cuda {
namespace {

constexpr unsigned kThreads = 64;

/// A bijection of 32 bits that spreads every bit; `mix` of src/generate/random.ts.
__device__ uint32_t mix(uint32_t value) {
  uint32_t x = value + 0x6d2b79f5u;
  x = (x ^ (x >> 16)) * 0x85ebca6bu;
  x = (x ^ (x >> 13)) * 0xc2b2ae35u;
  return x ^ (x >> 16);
}

/// `uniformAt` of src/generate/random.ts, bit for bit.
__device__ double uniform_at(uint32_t key, uint32_t stream, uint32_t counter) {
  const uint32_t state = mix(mix(key ^ stream) + counter);
  const uint32_t high = mix(state ^ 0x9e3779b9u) >> 5, low = mix(state ^ 0x85ebca6bu) >> 6;
  return (high * 67108864.0 + low) / 9007199254740992.0;
}

__device__ void place_row(const DecodeRows& state, unsigned row, int32_t position) {
  const DrawNumbers& draw = state.draw;
  if (threadIdx.x == 0) {
    state.positions[row] = position;
    for (size_t w = 0; w < state.windows; ++w) {
      const int32_t first = position - state.window[w].window + 1;
      state.window[w].first[row] = first > 0 ? first : 0;
    }
    if (state.table_rows != nullptr) state.table_rows[row] = position + state.table_offset;
    if (draw.uniforms != nullptr) {
      const int32_t counter = position + 1 - draw.behind[row];
      draw.uniforms[row] =
          uniform_at(static_cast<uint32_t>(*draw.key), static_cast<uint32_t>(draw.streams[row]),
                     static_cast<uint32_t>(counter));
    }
  }
  if (state.half == 0) return;
  // A position past the table belongs to a row that nobody reads any more.
  const size_t place = static_cast<size_t>(position);
  const size_t from = place < state.angle_positions ? place : state.angle_positions - 1;
  for (size_t i = threadIdx.x; i < state.half; i += blockDim.x) {
    state.cos[row * state.half + i] = state.cos_table[from * state.half + i];
    state.sin[row * state.half + i] = state.sin_table[from * state.half + i];
  }
}

__global__ void place_rows_kernel(DecodeRows state) {
  place_row(state, blockIdx.x, state.positions[blockIdx.x]);
}

__global__ void advance_rows_kernel(DecodeRows state, ChosenTokens tokens) {
  const unsigned row = blockIdx.x;
  const int32_t position = state.positions[row] + 1;
  __syncthreads();
  if (threadIdx.x == 0) {
    const int32_t chosen = tokens.chosen[row];
    const int32_t id = chosen < 0 ? 0 : chosen;
    const size_t slot = static_cast<size_t>(state.steps[row]++) % tokens.slots;
    tokens.ring[slot * state.rows + row] = chosen;
    state.ids[row] = id;
    if (tokens.seen != nullptr) tokens.seen[row * tokens.vocab + static_cast<size_t>(id)] = 1;
  }
  place_row(state, row, position);
}

}  // namespace

cudaError_t place_rows(const DecodeRows& state, cudaStream_t stream) {
  const Launch how = {dim3(static_cast<unsigned>(state.rows)), dim3(kThreads), 0, stream};
  return launch(place_rows_kernel, how, state);
}

cudaError_t advance_rows(const DecodeRows& state, const ChosenTokens& tokens, cudaStream_t stream) {
  const Launch how = {dim3(static_cast<unsigned>(state.rows)), dim3(kThreads), 0, stream};
  return launch(advance_rows_kernel, how, state, tokens);
}

}  // namespace llmkit::cuda
