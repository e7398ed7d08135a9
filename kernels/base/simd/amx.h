#pragma once

#include <cstddef>
#include <cstdint>

#include "base/simd/subnormals.h"

// The tile registers: eight of 16 rows of 64 bytes. Here 0 to 3 hold sums, 4 and 5 rows of x, 6 and
// 7 lines of a weight. Plain assembly, because the intrinsics of GCC 12 do not tell the compiler
// which memory they read.

namespace llmkit {
namespace {  // internal linkage: as in the vector headers

/// A tile: 16 rows of 64 bytes, of x or of 16 sums.
constexpr size_t kStepBytes = 64, kTileBytes = 1024;

/// What ldtilecfg reads.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

/// The tiles of this thread while it lives.
/// Tiles in use make every switch between threads slower, so they are given back at the end.
class TileScope {
 public:
  /// @param x_bytes of a row of x, at most 64: lines of a weight are a quarter of it
  explicit TileScope(size_t x_bytes = kStepBytes) {
    TileShapes shapes;
    for (int i = 0; i < 8; ++i) {
      shapes.rows[i] = static_cast<uint8_t>(i < 6 ? 16 : x_bytes / 4);
      shapes.row_bytes[i] = static_cast<uint16_t>(i == 4 || i == 5 ? x_bytes : kStepBytes);
    }
    __asm__ volatile("ldtilecfg %0" ::"m"(shapes));
  }
  ~TileScope() { __asm__ volatile("tilerelease" ::: "memory"); }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
};

template <int kTile>
inline void tile_zero() {
  __asm__ volatile("tilezero %%tmm%c0" ::"i"(kTile));
}
/// The rows of a tile, `stride` bytes apart.
template <int kTile>
inline void tile_load(const void* p, size_t stride) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
inline void tile_store(void* p, size_t stride) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(stride), "i"(kTile) : "memory");
}
/// sums[m][n] += rows[m][k] lines[k / 2][n][k % 2] in bf16.
template <int kSums, int kRows, int kLines>
inline void tile_multiply_bf16() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kRows), "i"(kLines));
}
/// sums[m][n] += rows[m][k] lines[k / 4][n][k % 4] in int8.
template <int kSums, int kRows, int kLines>
inline void tile_multiply_int8() {
  __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kRows), "i"(kLines));
}

}  // namespace
}  // namespace llmkit
