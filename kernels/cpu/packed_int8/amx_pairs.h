#pragma once

#include <algorithm>
#include <type_traits>

#include "base/simd/amx.h"
#include "cpu/packed_int8/signed_codes.h"

// A few rows of x by groups of 32 four-bit codes: include base/simd/avx512.h first.
//
// A row of a tile takes 64 bytes, two groups, whose sums have to stay apart. So a tile of x holds 8
// rows twice: the first group of a pair with zeros after it, and zeros with the second group after
// them. Its product with both groups of 16 rows of the weight is 16 sums, 8 of each group. Every
// packed line is read and unpacked once for 16 rows of x, and the results stay in registers.

namespace llmkit {
namespace {  // a copy per file: built with its flags

constexpr size_t kPairRows = 8, kPairGroup = 32;
/// The packed bytes are asked for this far ahead.
constexpr size_t kPairPrefetch = 32768;

/// Groups are the halves of a tile's rows; the last pair is whole.
inline bool has_pairs(const PackedWeight& weight) {
  return weight.code == PackedCode::kFourBit && weight.group_stride == kPairGroup &&
         weight.groups % 2 == 0;
}

/// Rows of x in blocks of 8, after the last one zeros: values [m / 8][pair][16][64 bytes], scales
/// [m / 8][group][8].
inline void prepare_pairs(const PackedWeight& weight, const PrepareArgs& args) {
  int8_t* out = static_cast<int8_t*>(args.values);
  std::memset(out, 0, (args.m + kPairRows - 1) / kPairRows * weight.groups / 2 * kTileBytes);
  for (size_t row = 0; row < args.m; ++row)
    for (size_t g = 0; g < weight.groups; ++g) {
      const size_t first = g * weight.group, count = std::min(weight.group, weight.cols - first);
      const float* const x = args.x + row * args.ldx + first;
      const GroupScale scale = group_scale(x, count);
      const size_t block = row / kPairRows * weight.groups + g;
      args.scales[block * kPairRows + row % kPairRows] = scale.scale;
      int8_t* const half = out + (block / 2) * kTileBytes + g % 2 * (kTileBytes / 2 + kPairGroup) +
                           row % kPairRows * kStepBytes;
      round_group(x, scale.inverse == 0 ? 0 : count, kPairGroup, scale.inverse, half);
    }
}

/// The pairs of groups of a tile of the weight, unpacked in turn: the lines of the last two and the
/// scales of the last four.
class UnpackedPairs {
 public:
  UnpackedPairs(const PackedWeight& weight, size_t tile)
      : weight_(weight), group_(weight.tile(tile)) {}

  void unpack(size_t p) {
    for (size_t half = 0; half < 2; ++half, group_ += weight_.group_bytes) {
      for (size_t i = 0; i < weight_.group_bytes; i += 64)
        __builtin_prefetch(group_ + kPairPrefetch + i, 0, 2);
      SignedCodes::unpack_bytes<PackedCode::kFourBit>(weight_, group_, scales_[p % 4][half],
                                                      lines_[p % 2] + half * kTileBytes / 2);
    }
  }
  const uint8_t* lines(size_t p) const { return lines_[p % 2]; }
  const float* scales(size_t p, size_t half) const { return scales_[p % 4][half]; }

 private:
  const PackedWeight& weight_;
  const uint8_t* group_;  // the next one
  alignas(64) uint8_t lines_[2][kTileBytes];
  alignas(64) float scales_[4][2][16];
};

/// One tile of the weight by kBlocks (1 or 2) blocks of 8 rows of x.
template <int kBlocks>
class PairProduct {
 public:
  PairProduct(const PackedWeight& weight, const PackedProductArgs& args, size_t tile, size_t block)
      : weight_(weight),
        unpacked_(weight, tile),
        next_x_(weight.groups / 2 * kTileBytes),
        x_(static_cast<const uint8_t*>(args.x.values) + block * next_x_),
        factors_(args.x.scales + block * weight.groups * kPairRows) {}

  /// acc of row r of block b at kPairRows * b + r.
  void run(Vec (&acc)[kBlocks * kPairRows]) {
#pragma GCC unroll 16
    for (Vec& sum : acc) sum = zero();
    const size_t pairs = weight_.groups / 2;
    unpacked_.unpack(0);
    size_t p = 0;
    for (; p + 2 <= pairs; p += 2) {
      step<0>(p, acc);
      step<1>(p + 1, acc);
    }
    if (p < pairs) step<0>(p++, acc);
    if (p % 2 == 1) {
      finish<0>(p, acc);
    } else {
      finish<1>(p, acc);
    }
  }

 private:
  /// A sum leaves its tile register after the next product has begun, and is added one step later:
  /// what is stored can be read only then without waiting.
  template <int kTurn>
  void step(size_t p, Vec (&acc)[kBlocks * kPairRows]) {
    if (p + 1 < weight_.groups / 2) unpacked_.unpack(p + 1);
    multiply<kTurn>(p);
    if (p > 0) store<1 - kTurn>();
    if (p > 1) add(p - 2, acc);
  }
  /// After the last pair, p - 1, whose turn was kTurn.
  template <int kTurn>
  void finish(size_t p, Vec (&acc)[kBlocks * kPairRows]) {
    store<kTurn>();
    if (p > 1) add(p - 2, acc);
    add(p - 1, acc);
  }

  template <int kTurn>
  void multiply(size_t p) const {
    tile_load<6>(unpacked_.lines(p), kStepBytes);
    tile_load<4>(x_ + p * kTileBytes, kStepBytes);
    tile_zero<2 * kTurn>();
    tile_multiply_int8<2 * kTurn, 4, 6>();
    if constexpr (kBlocks > 1) {
      tile_load<5>(x_ + next_x_ + p * kTileBytes, kStepBytes);
      tile_zero<2 * kTurn + 1>();
      tile_multiply_int8<2 * kTurn + 1, 5, 6>();
    }
  }
  template <int kTurn>
  void store() {
    tile_store<2 * kTurn>(sums_[kTurn][0], kStepBytes);
    if constexpr (kBlocks > 1) tile_store<2 * kTurn + 1>(sums_[kTurn][1], kStepBytes);
  }
  void add(size_t p, Vec (&acc)[kBlocks * kPairRows]) const {
    const float* const factors = factors_ + 2 * p * kPairRows;
#pragma GCC unroll 2
    for (size_t half = 0; half < 2; ++half) {
      const Vec scale = load(unpacked_.scales(p, half));
#pragma GCC unroll 16
      for (size_t i = 0; i < kBlocks * kPairRows; ++i) {
        const size_t block = i / kPairRows, row = i % kPairRows;
        const float factor = factors[(block * weight_.groups + half) * kPairRows + row];
        const Vec sums =
            to_float(as_int(load(sums_[p % 2][block] + (half * kPairRows + row) * 16)));
        acc[i] = fma(sums, mul(scale, splat(factor)), acc[i]);
      }
    }
  }

  const PackedWeight& weight_;
  UnpackedPairs unpacked_;
  const size_t next_x_;
  const uint8_t* const x_;
  const float* const factors_;
  alignas(64) int32_t sums_[2][kBlocks][256];
};

template <int kBlocks>
void store_pairs(const PackedWeight& weight, const PackedProductArgs& args, size_t tile,
                 size_t block) {
  Vec acc[kBlocks * kPairRows];
  PairProduct<kBlocks>(weight, args, tile, block).run(acc);
  const PackedRange& range = args.range;
  const size_t cols = std::min<size_t>(16, weight.rows - tile * 16);
  const Vec bias = args.bias == nullptr ? zero() : load_partial(args.bias + tile * 16, cols);
#pragma GCC unroll 16
  for (size_t i = 0; i < kBlocks * kPairRows; ++i) {
    const size_t row = block * kPairRows + i;
    if (row < range.first || row >= range.first + range.count) continue;
    float* const y = args.y + (row - range.first) * args.ldy + (tile - range.tile) * 16;
    store_partial(y, args.bias == nullptr ? acc[i] : add(acc[i], bias), cols);
  }
}

inline void multiply_pairs(const PackedWeight& weight, const PackedProductArgs& args) {
  const TileScope tiles;
  const PackedRange& range = args.range;
  const size_t end = (range.first + range.count + kPairRows - 1) / kPairRows;
  for (size_t tile = range.tile; tile < range.tile + range.tiles; ++tile)
    for (size_t block = range.first / kPairRows; block < end; block += 2)
      end - block > 1 ? store_pairs<2>(weight, args, tile, block)
                      : store_pairs<1>(weight, args, tile, block);
}

}  // namespace
}  // namespace llmkit
