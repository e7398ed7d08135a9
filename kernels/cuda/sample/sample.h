#pragma once

#include "cuda/base/cuda.h"

namespace llmkit::cuda {

/// What may change from run to run of a recorded step; see SampleArgs.
struct SampleSettings {
  double penalty, temperature, top_k, top_p;
};

/// How a token is chosen of each row of logits; meaning and order as llmkit::SampleArgs has them.
struct SampleArgs {
  size_t rows = 0, vocab = 0;     // vocab at most 2^24
  const float* logits = nullptr;  // [rows, vocab]
  const uint8_t* seen = nullptr;  // [rows, vocab]: not 0 where the penalty applies; null: nowhere
  double penalty = 1;             // 1: none
  double temperature = 1;         // 0: the most probable token
  size_t top_k = 0;               // 0: all
  double top_p = 1;               // 1: all
  const double* uniforms = nullptr;  // [rows], in [0, 1); not read at temperature 0
  int32_t* chosen = nullptr;         // [rows]
  /// On the device: counts in place of the four above, of which the host then takes only whether
  /// the temperature is 0 and whether top_k cuts.
  const SampleSettings* settings = nullptr;
};

/// Bytes that `sample` works in.
size_t sample_workspace(const SampleArgs& args);

/// chosen[row] = the id that llmkit::sample chooses of that row, or -1. Every sum of weights that
/// decides has the CPU's order, but for that of the weights before the top-p cut, which is exact.
/// The workspace is aligned to 16 bytes.
cudaError_t sample(const SampleArgs& args, void* workspace, cudaStream_t stream);

/// seen[rows[i], ids[i]] = 1 for each of `count` pairs; ids are below vocab.
cudaError_t mark_seen(const int32_t* rows, const int32_t* ids, size_t count, size_t vocab,
                      uint8_t* seen, cudaStream_t stream);

}  // namespace llmkit::cuda
