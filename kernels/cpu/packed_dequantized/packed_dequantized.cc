#include "cpu/packed_dequantized/packed_dequantized.h"

#include <algorithm>

#include "base/cpu_features.h"
#include "base/scratch.h"
#include "cpu/packed/layout.h"

namespace llmkit {
namespace {

/// Bytes of tiles at a time, which stay in the second-level cache.
constexpr size_t kBytesAtOnce = size_t{256} << 10;
/// Tiles that kernels take together, at most.
constexpr size_t kTilesOfBlock = 4;

}  // namespace

const DequantizeKernels& dequantize_kernels() {
#define DEQUANTIZE_KERNELS(isa, name) \
  if (runs_here(isa)) return name;
#include "cpu/packed_dequantized/kernels.inc"
#undef DEQUANTIZE_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

PackedWeight dequantized_form(const PackedWeight& weight) {
  PackedForm form;
  form.rows = weight.rows;
  form.cols = weight.cols;
  return *packed_layout(form);
}

size_t dequantized_at_once(const PackedWeight& weight) {
  const size_t tile_bytes = std::max<size_t>(dequantized_form(weight).tile_bytes, 1);
  const size_t blocks = kBytesAtOnce / (kTilesOfBlock * tile_bytes);
  return std::max<size_t>(blocks, 1) * kTilesOfBlock;
}

PackedWeight dequantize_tiles(const PackedWeight& weight, size_t tile, size_t count) {
  PackedWeight part = dequantized_form(weight);
  part.first_tile = tile;
  part.tiles = tile + count;
  auto* const out =
      reinterpret_cast<uint8_t*>(scratch(Scratch::kDequantized, part.size_bytes() / sizeof(float)));
  part.data = out;
  dequantize_kernels().tiles(weight, {tile, count, 0, part.padded_cols(), out, part.tile_bytes});
  return part;
}

}  // namespace llmkit
