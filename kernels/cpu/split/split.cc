#include "cpu/split/split.h"

#include <algorithm>
#include <cstring>

#include "base/bf16.h"
#include "base/cpu_features.h"
#include "base/parallel.h"

namespace llmkit {
namespace {

const SplitKernels& kernels() {
#define SPLIT_KERNELS(isa, name) \
  if (runs_here(isa)) return name;
#include "cpu/split/kernels.inc"
#undef SPLIT_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

constexpr size_t kTileRows = 16, kLineBytes = 64;

size_t divide_up(size_t a, size_t b) { return (a + b - 1) / b; }

/// A packed weight of 16-bit codes, `stride` columns of a row, all of them there.
PackedWeight plan(size_t rows, size_t stride, Scratch slot) {
  PackedWeight w;
  w.code = PackedCode::kSixteenBit;
  w.rows = rows;
  w.cols = w.group = w.group_stride = stride;
  w.tiles = divide_up(rows, kTileRows);
  w.groups = 1;
  w.group_bytes = w.tile_bytes = stride / 2 * kLineBytes;
  w.data = reinterpret_cast<uint8_t*>(scratch(slot, w.size_bytes() / sizeof(float)));
  return w;
}

uint8_t* tile_of(const PackedWeight& w, size_t tile) { return const_cast<uint8_t*>(w.tile(tile)); }

/// 16 rows from `row` on, or those that are left, of columns [col, col + count).
SplitMatrix part_of(const SplitMatrix& m, size_t row, size_t col, size_t count) {
  return {m.values + row * m.ld + col, std::min(kTileRows, m.rows - row), count, m.ld};
}

}  // namespace

PackedWeight split_rows(const SplitMatrix& matrix, const SplitPlaces& places, size_t parts,
                        Scratch slot) {
  const size_t tiles = divide_up(matrix.rows, kTileRows),
               groups = divide_up(matrix.cols, places.group);
  PackedWeight w = plan(parts * tiles * kTileRows, groups * places.stride, slot);
  // A part of a tile's columns at a time, so that all threads have some of a single tile.
  const size_t group_bytes = places.stride / 2 * kLineBytes;
  parallel_for(
      tiles * groups, grain_for(8 * kTileRows * places.stride), [&](size_t begin, size_t end) {
        for (size_t i = begin; i < end; ++i) {
          const size_t tile = i / groups, group = i % groups, col = group * places.group;
          const SplitMatrix part =
              part_of(matrix, tile * kTileRows, col, std::min(places.group, matrix.cols - col));
          uint8_t* const high = tile_of(w, tile) + group * group_bytes;
          uint8_t* const low = tile_of(w, tiles + tile) + group * group_bytes;
          kernels().split({part, places.stride, places.code_order, high, low});
          if (parts > 2)
            std::memcpy(tile_of(w, 2 * tiles + tile) + group * group_bytes, high, group_bytes);
        }
      });
  return w;
}

PackedWeight split_columns(const SplitMatrix& matrix, Scratch slot) {
  const size_t width = split_width(matrix.cols), bytes = width / 2 * kLineBytes;
  PackedWeight w = plan(matrix.rows, divide_up(3 * width, 32) * 32, slot);
  parallel_for(w.tiles, grain_for(8 * kTileRows * width), [&](size_t begin, size_t end) {
    for (size_t tile = begin; tile < end; ++tile) {
      uint8_t* const high = tile_of(w, tile);
      const SplitMatrix part = part_of(matrix, tile * kTileRows, 0, matrix.cols);
      kernels().split({part, width, false, high, high + bytes});
      std::memcpy(high + 2 * bytes, high, bytes);
      std::memset(high + 3 * bytes, 0, w.tile_bytes - 3 * bytes);
    }
  });
  return w;
}

void split_row(size_t cols, const float* row, size_t width, float* parts) {
  for (size_t i = 0; i < cols; ++i) {
    const float high = from_bf16(to_bf16(row[i]));
    parts[i] = parts[width + i] = high;
    parts[2 * width + i] = row[i] - high;
  }
}

}  // namespace llmkit
