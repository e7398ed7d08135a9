#pragma once

#include "base/simd/avx512.h"

namespace llmkit {
namespace {

/// Vectors of a tile of query rows.
constexpr int kRowVecs = 4;

}  // namespace
}  // namespace llmkit

#include "cpu/attention_bf16/backward.h"
#include "cpu/attention_bf16/forward.h"

// The kernels of an instruction set, whose <isa>_products.h comes first.

namespace llmkit {
namespace {  // a copy per file: built with its flags

/// What a gradient needs; a forward pass needs less.
size_t scratch_size(size_t E) {
  return 2 * kBlockSize + 3 * kBlockSize / 2 + 3 * rounded_size(E) * kTileRows;
}

constexpr AttentionBf16Kernels kKernels = {scratch_size, pack_rows, pack_columns, forward_rows,
                                           grad_rows};

}  // namespace
}  // namespace llmkit
