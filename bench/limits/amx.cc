#include "work.h"

#if defined(__AMX_INT8__) && defined(__AMX_BF16__) && defined(__linux__)

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

namespace {

constexpr long kTurns = 200000;
constexpr int kTilesPerTurn = 4;
/** Tile data is off until the kernel is asked for it. */
constexpr long kRequestPermission = 0x1023;
constexpr long kTileData = 18;

struct TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64, "the instruction reads 64 bytes");

/** Eight tiles of 16 rows of 64 bytes. */
void Configure() {
  TileConfig config;
  for (int i = 0; i < 8; ++i) {
    config.row_bytes[i] = 64;
    config.rows[i] = 16;
  }
  // GCC's intrinsic names only 8 of the bytes: without this the other stores are dropped.
  asm volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}

/** Clears the sums and gives the two operands small values. */
void LoadOperands() {
  alignas(64) char bytes[1024];
  std::memset(bytes, 1, sizeof bytes);
  asm volatile("" : : "r"(bytes) : "memory");
  _tile_loadd(4, bytes, 64);
  _tile_loadd(5, bytes, 64);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

void Int8(int) {
  Configure();
  LoadOperands();
  for (long turn = 0; turn < kTurns; ++turn) {
    _tile_dpbusd(0, 4, 5);
    _tile_dpbusd(1, 4, 5);
    _tile_dpbusd(2, 4, 5);
    _tile_dpbusd(3, 4, 5);
  }
  _tile_release();
}

void Bf16(int) {
  Configure();
  LoadOperands();
  for (long turn = 0; turn < kTurns; ++turn) {
    _tile_dpbf16ps(0, 4, 5);
    _tile_dpbf16ps(1, 4, 5);
    _tile_dpbf16ps(2, 4, 5);
    _tile_dpbf16ps(3, 4, 5);
  }
  _tile_release();
}

}  // namespace

std::vector<Work> TileWorks() {
  if (syscall(SYS_arch_prctl, kRequestPermission, kTileData) != 0) return {};
  const double tiles = static_cast<double>(kTurns) * kTilesPerTurn;
  return {{"amx_int8", tiles * 2 * 16 * 16 * 64, Int8},
          {"amx_bf16", tiles * 2 * 16 * 16 * 32, Bf16}};
}

#else

std::vector<Work> TileWorks() { return {}; }

#endif
