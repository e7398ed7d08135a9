#pragma once

#include "cuda/base/cuda.h"

// Where the values of a packed weight lie. One layout serves the forward product y = x · Wᵀ, where
// W is the first operand of the matrix instruction, and the gradient dx = dy · W, where Wᵀ is.
//
// A tile is 32 rows (n) x 64 columns (k): 8 x 8 chunks (P, Q) of 4 rows x 8 columns. Lane (g, t) =
// (lane / 4, lane % 4) of a warp reads the chunks (g, t) and (g, t + 4) in the forward product, and
// (t, g) and (t + 4, g) in the gradient. The reduced index is then in its natural order both times,
// so that the other operand is read as it is; the rows of the result are permuted, in pairs.

namespace llmkit::cuda {

#define LLMKIT_HOST_DEVICE __host__ __device__ __forceinline__

constexpr int kTileRows = 32, kTileColumns = 64, kChunkBytes = 16, kPlaneBytes = 1024;

/// What a packed value is.
///   kInt4   code - zero (8, or one per group), codes of 4 bits
///   kTable  table[code], codes of 4 bits: nf4, fp4
///   kInt8   code - zero (128, or one per group)
///   kBf16   the value, without scales
enum class PackedCode : uint8_t { kInt4, kTable, kInt8, kBf16 };

/// Planes of 1024 bytes of a tile: each has 16 bytes of every chunk.
LLMKIT_HOST_DEVICE constexpr int planes_of(PackedCode code) {
  return code == PackedCode::kBf16 ? 4 : code == PackedCode::kInt8 ? 2 : 1;
}

/// Where element i (0..3) of quarter t lies in 16 rows or columns of an operand.
LLMKIT_HOST_DEVICE int fragment_offset(int t, int i) { return 2 * t + (i & 1) + 8 * (i >> 1); }

/// The row in its tile of element i (0..3) of chunk row P.
LLMKIT_HOST_DEVICE int chunk_row(int P, int i) { return 16 * (P >> 2) + fragment_offset(P & 3, i); }

/// The column in its tile of element j (0..7) of chunk column Q.
LLMKIT_HOST_DEVICE int chunk_column(int Q, int j) {
  return 32 * (Q >> 2) + 16 * (j >> 2) + fragment_offset(Q & 3, j & 3);
}

/// Where a row or column of a tile lies: the inverse of chunk_row and chunk_column.
struct ChunkIndex {
  int chunk, element;
};
LLMKIT_HOST_DEVICE ChunkIndex chunk_of_row(int row) {
  const int in16 = row & 15;
  return {4 * (row >> 4) + ((in16 & 7) >> 1), (in16 & 1) + 2 * (in16 >> 3)};
}
LLMKIT_HOST_DEVICE ChunkIndex chunk_of_column(int column) {
  const int in16 = column & 15;
  return {4 * (column >> 5) + ((in16 & 7) >> 1),
          4 * ((column >> 4) & 1) + (in16 & 1) + 2 * (in16 >> 3)};
}

/// The place of a chunk among the 64 of a plane. A warp's forward read is 512 contiguous bytes; the
/// exclusive-or lets 8 lanes read 16 bytes of shared memory without a bank conflict both ways.
LLMKIT_HOST_DEVICE int chunk_slot(int P, int Q) {
  const int slot = 32 * (Q >> 2) + 4 * P + (Q & 3);
  return slot ^ (((slot >> 3) & 1) << 1);
}
/// The chunk of a slot: P in bits 3..5, Q in bits 0..2.
LLMKIT_HOST_DEVICE int chunk_in_slot(int slot) {
  const int plain = slot ^ (((slot >> 3) & 1) << 1);
  return (plain >> 2 & 7) << 3 | (plain >> 5) << 2 | (plain & 3);
}

/// Where an element of a chunk is: its plane, the 32-bit word of the 16 bytes there, its lowest
/// bit. A pair of columns (2p, 2p + 1) comes out as a register of two bf16 by few instructions.
struct ChunkPlace {
  int plane, word, bit;
};
LLMKIT_HOST_DEVICE ChunkPlace place_in_chunk(PackedCode code, int i, int j) {
  const int odd = j & 1;
  if (code == PackedCode::kInt4) return {0, j >> 1, 4 * i + 16 * odd};
  if (code == PackedCode::kTable) return {0, j >> 1, 8 * i + 4 * odd};
  if (code == PackedCode::kInt8) return {j >> 2, i, 16 * odd + 8 * (j >> 1 & 1)};
  return {j >> 1, i, 16 * odd};
}

/// The word of the packed array, and the lowest bit in it, of element (row, column).
struct PackedPlace {
  size_t word;
  int bit;
};
LLMKIT_HOST_DEVICE PackedPlace packed_place(PackedCode code, size_t row, size_t column,
                                            size_t column_tiles) {
  const ChunkIndex n = chunk_of_row(static_cast<int>(row % kTileRows));
  const ChunkIndex k = chunk_of_column(static_cast<int>(column % kTileColumns));
  const ChunkPlace place = place_in_chunk(code, n.element, k.element);
  const size_t tile = row / kTileRows * column_tiles + column / kTileColumns;
  const size_t plane = tile * static_cast<size_t>(planes_of(code)) + place.plane;
  return {plane * 256 + static_cast<size_t>(chunk_slot(n.chunk, k.chunk) * 4 + place.word),
          place.bit};
}

/// Scales and zero points lie [row tile][group][32]; where those of a row of the tile are in the
/// 32: the 4 of a chunk row are neighbours.
LLMKIT_HOST_DEVICE int scale_slot(int row) {
  const ChunkIndex n = chunk_of_row(row);
  return 4 * n.chunk + n.element;
}

/// The forward product adds up K in 8 slices, each for itself, and then these in order. The tiles
/// of a slice depend on the columns and the group alone, so that a result has the same bits
/// whatever kernel makes it. A slice never cuts a group; it may be empty.
constexpr int kSlices = 8;
LLMKIT_HOST_DEVICE int slice_begin(int slice, int column_tiles, int tiles_per_group) {
  const int units = (column_tiles + tiles_per_group - 1) / tiles_per_group;
  const int tile = units * slice / kSlices * tiles_per_group;
  return tile < column_tiles ? tile : column_tiles;
}

}  // namespace llmkit::cuda
