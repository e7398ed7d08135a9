#pragma once

#include "cuda/activation/activation.h"
#include "cuda/base/elements.h"
#include "cuda/packed/packed.h"

namespace llmkit::cuda {

/// What a product adds to its result: low [m, rank] · high, where element (r, n) of high is
/// high[r * rank_step + n * step]. Both factors are split in two bf16 values each, so that this
/// branch keeps about 16 bits where x and the weight have 8.
struct LowRank {
  size_t rank = 0;
  const float* low = nullptr;
  const float* high = nullptr;
  size_t rank_step = 0, step = 0;
};

/// What becomes of a layer's sums (x · weightᵀ + update) + bias.
enum class Ending : uint8_t {
  kSums,       // y = residual + sums
  kActivated,  // y = f(sums)
  kGates,      // y = f(sums) · the sums of the next layer, which can_gate and has no y of its own
};

/// A layer of a product, y [m, rows].
struct PackedLayer {
  const PackedWeight* weight = nullptr;
  const float* bias = nullptr;      // [rows] or null
  const float* residual = nullptr;  // [m, rows] or null; may be y; null with f
  Elements y;
  LowRank update;  // none where its rank is 0
  Ending ending = Ending::kSums;
  Activation f = Activation::kSilu;
  /// y in bf16 as well, [m, rows], of at most kFewRows rows with f; else null, as with
  /// Instructions::kWarpgroups.
  bf16* rounded = nullptr;
};

/// Whether a kernel multiplies both, so that the first can gate the second: codes, groups, sizes
/// and instructions are alike.
bool can_gate(const PackedWeight& gate, const PackedWeight& up);

/// Products of the same rows x with `count` weights of the same cols: x is rounded to bf16, the
/// sums are float32. A row of bf16 gives the bits of the row that it was rounded from. A row of y
/// has the same bits whatever m and the other layers are.
struct PackedLinearArgs {
  size_t m = 0;
  ConstElements x;                      // [m, cols]
  const PackedLayer* layers = nullptr;  // Instructions::kWarpgroups all of them or none
  size_t count = 0;
  /// x in bf16 with zeros up to padded_cols, where at most kFewRows of it have been rounded.
  const bf16* rounded = nullptr;
};
size_t packed_linears_workspace(const PackedLinearArgs& args);
cudaError_t packed_linears(const PackedLinearArgs& args, void* workspace, cudaStream_t stream);

/// dx [m, cols] = dy [m, rows] · weight + update: dy and the weight's values are rounded to bf16,
/// the sums are float32, rows ascending. A row of dx has the same bits whatever m is.
struct PackedGradInputArgs {
  size_t m = 0;
  const float* dy = nullptr;
  const PackedWeight* weight = nullptr;
  float* dx = nullptr;
  LowRank update;
};
size_t packed_grad_input_workspace(const PackedGradInputArgs& args);
cudaError_t packed_grad_input(const PackedGradInputArgs& args, void* workspace,
                              cudaStream_t stream);

}  // namespace llmkit::cuda
