#pragma once

#include "cuda/base/cuda.h"

// What one step of decoding reads about its rows. It follows from the rows' positions, which are in
// device memory: a recorded step that ends with `advance_rows` is the next one when it is replayed.

namespace llmkit::cuda {

constexpr size_t kMostWindows = 4;

/// The first key that a row's token sees, where a layer's window reaches back so many keys.
struct WindowStart {
  int32_t window = 0;        // the token's own key included
  int32_t* first = nullptr;  // [rows]
};

/// The random numbers that tokens are drawn with; see src/generate/random.ts.
struct DrawNumbers {
  double* uniforms = nullptr;        // [rows], null where nothing is drawn
  const int32_t* streams = nullptr;  // [rows]
  const int32_t* behind = nullptr;   // [rows]: a row's count of new tokens is position + 1 - behind
  const int32_t* key = nullptr;      // one, of the seed
};

struct DecodeRows {
  size_t rows = 0;
  int32_t* ids = nullptr;        // [rows]: the token that the step takes
  int32_t* positions = nullptr;  // [rows]: its place, which is also the last key that it sees
  int32_t* steps = nullptr;      // [rows]: how many have ended
  size_t windows = 0;
  WindowStart window[kMostWindows];
  int32_t* table_rows = nullptr;  // [rows]: position + table_offset; null without learned positions
  int32_t table_offset = 0;
  size_t half = 0;  // angles of one position; 0 without RoPE
  size_t angle_positions = 0;
  const float* cos_table = nullptr;  // [angle_positions, half]
  const float* sin_table = nullptr;
  float* cos = nullptr;  // [rows, half]
  float* sin = nullptr;
  DrawNumbers draw;
};

/// Fills in what follows from the positions.
cudaError_t place_rows(const DecodeRows& state, cudaStream_t stream);

/// Where tokens that have been chosen go.
struct ChosenTokens {
  const int32_t* chosen = nullptr;  // [rows]; -1 where none could be
  int32_t* ring = nullptr;          // [slots, rows], may be pinned host memory
  size_t slots = 0;
  uint8_t* seen = nullptr;  // [rows, vocab]: 1 where a token has been seen; null where nobody asks
  size_t vocab = 0;
};

/// Ends a step: tells the host each row's token in slot `position % slots` of the ring (of the
/// position that it takes), makes it the row's id (0 where none was chosen) and steps the position
/// on.
cudaError_t advance_rows(const DecodeRows& state, const ChosenTokens& tokens, cudaStream_t stream);

}  // namespace llmkit::cuda
