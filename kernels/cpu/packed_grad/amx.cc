#include "cpu/packed_grad/bf16.h"

namespace llmkit {
namespace {

/// Tile registers of 16 rows of 64 bytes: 0..3 sums, 4 and 5 pieces of the weight, 6 and 7 of dy.
struct TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

/// kCols (1 or 2) times 16 columns of the weight by kRows (1 or 2) times 16 rows of dy.
template <int kCols, int kRows>
inline void tile(const GradProduct& p, size_t col, size_t row) {
  float* const sums = p.sums + col * p.ld + row;
  const size_t ld = p.ld * sizeof(float), width = p.width * 2 * sizeof(uint16_t);
  if (p.accumulate) {
    _tile_loadd(0, sums, ld);
    if constexpr (kRows > 1) _tile_loadd(1, sums + 16, ld);
    if constexpr (kCols > 1) _tile_loadd(2, sums + 16 * p.ld, ld);
    if constexpr (kCols > 1 && kRows > 1) _tile_loadd(3, sums + 16 * p.ld + 16, ld);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const uint16_t* block = static_cast<const uint16_t*>(p.block) + 2 * row;
  for (size_t step = 0; step < p.depth / kGradStep; ++step, block += kGradStep * p.width) {
    _tile_loadd(4, piece_of(p.panel, col, step), 64);
    _tile_loadd(6, block, width);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kRows > 1) {
      _tile_loadd(7, block + 32, width);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (kCols > 1) {
      _tile_loadd(5, piece_of(p.panel, col + 16, step), 64);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (kRows > 1) _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, sums, ld);
  if constexpr (kRows > 1) _tile_stored(1, sums + 16, ld);
  if constexpr (kCols > 1) _tile_stored(2, sums + 16 * p.ld, ld);
  if constexpr (kCols > 1 && kRows > 1) _tile_stored(3, sums + 16 * p.ld + 16, ld);
}

template <int kCols>
inline void columns(const GradProduct& p, size_t col) {
  size_t row = 0;
  for (; row + 32 <= p.width; row += 32) tile<kCols, 2>(p, col, row);
  if (row < p.width) tile<kCols, 1>(p, col, row);
}

inline void product(const GradProduct& p) {
  const TileConfig config;
  _tile_loadconfig(&config);
  size_t col = 0;
  for (; col + 32 <= p.cols; col += 32) columns<2>(p, col);
  if (col < p.cols) columns<1>(p, col);
  _tile_release();
}

}  // namespace

const PackedGradKernels packed_grad_amx = {sizeof(uint16_t), pack_bf16, pack_columns_bf16,
                                           decode_bf16,      product,   transpose_block_512};

}  // namespace llmkit
