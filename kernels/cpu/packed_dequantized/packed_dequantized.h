#pragma once

#include "base/packed_weight.h"

namespace llmkit {

// A weight of Compute::kBf16Dequantized is multiplied as one of 16-bit codes, the values that its
// gradient has (cpu/packed_grad): code * scale rounded to bf16, codes as in packed_weight.h. Its
// tiles are made for the call and stay in the cache, so that sums run over whole rows and nothing
// is held twice.

inline bool is_dequantized(const PackedWeight& weight) {
  return weight.compute == Compute::kBf16Dequantized;
}

/// All of the weight of 16-bit codes but its bytes.
PackedWeight dequantized_form(const PackedWeight& weight);

/// Tiles of it that are made at a time, at most.
size_t dequantized_at_once(const PackedWeight& weight);

/// Tiles [tile, tile + count) of it, in a slot of this thread (valid until its next call).
PackedWeight dequantize_tiles(const PackedWeight& weight, size_t tile, size_t count);

/// What is made on one thread: of each tile the lines of 16-bit codes of columns [col, col + cols),
/// in `tile_bytes` bytes. col is even; columns past the end are zeros.
struct DequantizeArgs {
  size_t tile, count;
  size_t col, cols;
  uint8_t* out;
  size_t tile_bytes;
};
struct DequantizeKernels {
  void (*tiles)(const PackedWeight& weight, const DequantizeArgs& args);
};
const DequantizeKernels& dequantize_kernels();

#define DEQUANTIZE_KERNELS(isa, name) extern const DequantizeKernels name;
#include "cpu/packed_dequantized/kernels.inc"
#undef DEQUANTIZE_KERNELS

}  // namespace llmkit
