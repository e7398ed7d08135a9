#pragma once

#include "base/cpu_features.h"
#include "cpu/packed/kernels.h"

// The codes of a packed weight as products with int8 rows read them, and the sizes of those
// products: include base/simd/<isa>.h first.

namespace llmkit {
namespace {  // a copy per instruction set

// Rows of x and tiles of a panel that fill the vector registers, and the rows up to which it is
// faster to unpack the weight again for every share of them (measured). From how many rows on these
// take two tiles at a time. Whether 8-bit codes are multiplied as two nibbles, as 4-bit ones are.
#if defined(__AVX512F__)
constexpr int kShareRows = 8, kManyRows = 6, kPanelTiles = 2;
constexpr size_t kFewRows = 32, kFewestOfPairs = 5;
constexpr bool kSplitsBytes = false;
#elif defined(__AVX2__)
constexpr int kManyRows = 6, kPanelTiles = 1;
constexpr size_t kFewRows = 12, kFewestOfPairs = SIZE_MAX;
constexpr bool kSplitsBytes = true;
#elif defined(__ARM_FEATURE_DOTPROD)
constexpr int kManyRows = 3, kPanelTiles = 1;
constexpr size_t kFewRows = 16, kFewestOfPairs = SIZE_MAX;
constexpr bool kSplitsBytes = false;
#else
constexpr int kManyRows = 1, kPanelTiles = 1;
constexpr size_t kFewRows = 1, kFewestOfPairs = SIZE_MAX;
constexpr bool kSplitsBytes = false;
#endif
/// A panel fills at most this much of the second-level cache.
constexpr size_t kPanelBytes = 512 * 1024;
/// Of a tile of those taken in pairs, four of which should fit into the second-level cache.
constexpr size_t kPairTileBytes = 192 * 1024;
/// Rows of x that are taken at a time fill about this much of it: every panel reads all of them.
constexpr size_t kRowsBytes = 1024 * 1024, kLeastManyRows = 256;

/// The packed bytes are asked for twice: far ahead into the second-level cache, since the first
/// level can have too few requests open to keep the memory busy (10 % on one thread), and from
/// there into the first, else arithmetic waits for the second and memory for arithmetic (12 % of a
/// row's time on two). Where the first level can have enough, they go there at once, the same
/// distance ahead (11 % on one thread).
constexpr size_t kPrefetchFar = 8192, kPrefetchNear = 3072;
inline size_t prefetch_near() { return first_level_keeps_up() ? kPrefetchFar : kPrefetchNear; }
inline void prefetch_ahead(const uint8_t* p, size_t near) {
  __builtin_prefetch(p + kPrefetchFar, 0, 2);
  __builtin_prefetch(p + near, 0, 3);
}

/// Groups as the loops over them are made: kPlain and kZeros are of whole multiples of kPlainCols,
/// without and with zero points; kAny is any.
enum class GroupKind { kAny, kPlain, kZeros };
constexpr size_t kUnrolled = 4;
/// Rows of x that lie side by side at most.
constexpr int kLongestBlock = 8;

/// Codes of a step of 8 (4-bit) or 4 columns of a tile, a byte each: the second four in `b`, or the
/// upper nibbles of the same ones.
struct Codes {
  Index a, b;
};
template <PackedCode kCode>
constexpr size_t kColsOfStep = kCode == PackedCode::kFourBit ? 8 : 4;

template <PackedCode kCode>
constexpr size_t kPlainCols = kSplitsBytes ? 32 : kUnrolled* kColsOfStep<kCode>;
/// Vectors of a step: whether it has `b`.
template <PackedCode kCode>
constexpr size_t kStepHalves = kCode == PackedCode::kFourBit || kSplitsBytes ? 2 : 1;

/// Nibbles kHalf of each byte.
template <int kHalf>
inline Index half_of(Index line) {
  return bit_and(kHalf == 0 ? line : shift_right<4>(line), splat_int(0x0f0f0f0f));
}
template <PackedCode kCode>
inline Codes unpack_line(const uint8_t* p) {
  const Index line = as_int(load(p));
  if constexpr (kStepHalves<kCode> == 1) return {line, line};
  return {half_of<0>(line), half_of<1>(line)};
}

inline Vec load_scales(ScaleType type, const uint8_t* p) {
  if (type == ScaleType::kBf16) return load_bf16(p);
  return type == ScaleType::kF16 ? load_f16(p) : load(p);
}

// A source gives the groups of kTiles neighbouring tiles in turn: next_group, then every step; the
// scales and zero points of the group at any time. For up to kMostRows rows of x the registers
// suffice; a block of more takes two passes, each by the source `of_pass`.

/// The packed bytes of one tile.
template <PackedCode kPackedCode>
class PackedSource {
 public:
  static constexpr PackedCode kCode = kPackedCode;
  static constexpr int kTiles = 1, kMostRows = kLongestBlock;
  PackedSource(const PackedWeight& w, size_t tile, size_t group = 0)
      : w_(w),
        scale_bytes_(packed_scale_bytes(w.scale_type)),
        near_(prefetch_near()),
        next_(w.tile(tile) + group * w.group_bytes) {}

  void next_group() {
    group_ = next_;
    prefetch_ahead(group_, near_);
    line_ = group_ + scale_bytes_ + (w_.has_zeros ? kLanes : 0);
    next_ += w_.group_bytes;
  }
  void next_step(Codes (&codes)[kTiles]) {
    prefetch_ahead(line_, near_);
    codes[0] = unpack_line<kCode>(line_);
    line_ += 64;
  }
  /// Half kHalf of step `step` of the group, for a product that takes one at a time.
  template <int kHalf>
  Index half_of_step(size_t step) const {
    const uint8_t* const line = line_ + step * 64;
    if (kHalf == 0) prefetch_ahead(line, near_);
    return half_of<kHalf>(as_int(load(line)));
  }
  /// Keeps the compiler from loading ahead what comes after, or again what came before.
  void part_loads() { __asm__("" : "+r"(line_)); }
  Vec scale(int) const { return load_scales(w_.scale_type, group_); }
  Index zeros(int) const { return widen_u8(group_ + scale_bytes_); }

 private:
  const PackedWeight& w_;
  const size_t scale_bytes_, near_;
  const uint8_t *next_, *group_ = nullptr, *line_ = nullptr;
};

/// An unpacked panel of kPanelTiles tiles: a group is the scales of each tile in float32, its zero
/// points in int32, and the steps, a vector per four columns of each tile.
template <PackedCode kPackedCode>
class PanelSource {
 public:
  static constexpr PackedCode kCode = kPackedCode;
  static constexpr int kTiles = kPanelTiles, kMostRows = kLongestBlock;
  static constexpr size_t kStepVectors = kTiles * kStepHalves<kCode>;

  static size_t group_vectors(const PackedWeight& w) {
    return 2 * kTiles + kStepVectors * (w.group_stride / kColsOfStep<kCode>);
  }
  /// Writes groups [begin, end) of the tiles from `tile` on.
  static void unpack(const PackedWeight& w, size_t tile, size_t begin, size_t end, float* panel) {
    for (int t = 0; t < kTiles; ++t) {
      PackedSource<kCode> source(w, tile + t, begin);
      float* p = panel + t * kLanes;
      for (size_t g = begin; g < end; ++g) {
        source.next_group();
        store(p, source.scale(0));
        if (w.has_zeros) store(p + kTiles * kLanes, as_float(source.zeros(0)));
        p += 2 * kTiles * kLanes;
        for (size_t k = 0; k < w.group_stride; k += kColsOfStep<kCode>) {
          Codes codes[1];
          source.next_step(codes);
          store(p, as_float(codes[0].a));
          if (kStepHalves<kCode> == 2) store(p + kTiles * kLanes, as_float(codes[0].b));
          p += kStepVectors * kLanes;
        }
      }
    }
  }

  PanelSource(const PackedWeight& w, const float* panel)
      : group_floats_(group_vectors(w) * kLanes), next_(panel) {}
  void next_group() {
    group_ = next_;
    line_ = group_ + 2 * kTiles * kLanes;
    next_ += group_floats_;
  }
  void next_step(Codes (&codes)[kTiles]) {
#pragma GCC unroll 4
    for (int t = 0; t < kTiles; ++t) {
      codes[t].a = as_int(load(line_ + t * kLanes));
      if (kStepHalves<kCode> == 2) codes[t].b = as_int(load(line_ + (kTiles + t) * kLanes));
    }
    line_ += kStepVectors * kLanes;
  }
  template <int kHalf>
  Index half_of_step(size_t step) const {
    return as_int(load(line_ + (step * kStepHalves<kCode> + kHalf) * kLanes));
  }
  void part_loads() { __asm__("" : "+r"(line_)); }
  Vec scale(int tile) const { return load(group_ + tile * kLanes); }
  Index zeros(int tile) const { return as_int(load(group_ + (kTiles + tile) * kLanes)); }

 private:
  const size_t group_floats_;
  const float *next_, *group_ = nullptr, *line_ = nullptr;
};

/// The packed bytes of two tiles: what is loaded of x serves both. Many rows are in the way of
/// requests a little ahead, so the next two tiles are asked for as a whole, in equal parts with
/// each group, into the second-level cache.
template <PackedCode kPackedCode>
class PairSource {
 public:
  static constexpr PackedCode kCode = kPackedCode;
  static constexpr int kTiles = 2, kMostRows = 5;

  PairSource(const PackedWeight& w, size_t tile)
      : w_(w),
        scale_bytes_(packed_scale_bytes(w.scale_type)),
        next_(w.tile(tile)),
        asked_(next_ + 2 * w.tile_bytes),
        step_(2 * w.group_bytes) {}
  /// The same for pass 0 or 1.
  PairSource of_pass(int pass) const {
    PairSource source = *this;
    source.asked_ += pass * w_.tile_bytes;
    source.step_ = w_.group_bytes;
    return source;
  }

  void next_group() {
    group_ = next_;
    line_ = group_ + scale_bytes_ + (w_.has_zeros ? kLanes : 0);
    next_ += w_.group_bytes;
    for (const uint8_t* p = asked_; p < asked_ + step_; p += 64) __builtin_prefetch(p, 0, 2);
    asked_ += step_;
  }
  void next_step(Codes (&codes)[kTiles]) {
    codes[0] = unpack_line<kCode>(line_);
    codes[1] = unpack_line<kCode>(line_ + w_.tile_bytes);
    line_ += 64;
  }
  Vec scale(int tile) const { return load_scales(w_.scale_type, group_ + tile * w_.tile_bytes); }
  Index zeros(int tile) const { return widen_u8(group_ + tile * w_.tile_bytes + scale_bytes_); }

 private:
  const PackedWeight& w_;
  const size_t scale_bytes_;
  const uint8_t *next_, *group_ = nullptr, *line_ = nullptr;
  const uint8_t* asked_;
  size_t step_;
};

}  // namespace
}  // namespace llmkit
