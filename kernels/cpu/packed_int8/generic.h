#pragma once

#include "base/scratch.h"
#include "cpu/packed_int8/prepare.h"

// Products of int8 rows with packed codes, the arithmetic of packed.h: include base/simd/<isa>.h
// first.

namespace llmkit {
namespace {  // a copy per instruction set

// Rows of x and tiles of a panel that fill the vector registers, and the rows up to which it is
// faster to unpack the weight again for every share of them (measured).
#if defined(__AVX512F__)
constexpr int kShareRows = 8, kManyRows = 6, kPanelTiles = 2;
constexpr size_t kFewRows = 32;
#elif defined(__AVX2__) || defined(__ARM_FEATURE_DOTPROD)
constexpr int kShareRows = 3, kManyRows = 3, kPanelTiles = 1;
constexpr size_t kFewRows = 16;
#else
constexpr int kShareRows = 1, kManyRows = 1, kPanelTiles = 1;
constexpr size_t kFewRows = 1;
#endif
/// A panel fills at most this much of the second-level cache.
constexpr size_t kPanelBytes = 512 * 1024;
/// Rows of x that are taken at a time fill about this much of it: every panel reads all of them.
constexpr size_t kRowsBytes = 1024 * 1024, kLeastManyRows = 256;

/// The packed bytes are asked for twice: far ahead into the second-level cache, since the first
/// level can have too few requests open to keep the memory busy (10 % on one thread), and from
/// there into the first, else arithmetic waits for the second and memory for arithmetic (12 % of a
/// row's time on two).
constexpr size_t kPrefetchFar = 8192, kPrefetchNear = 3072;
inline void prefetch_ahead(const uint8_t* p) {
  __builtin_prefetch(p + kPrefetchFar, 0, 2);
  __builtin_prefetch(p + kPrefetchNear, 0, 3);
}

/// Groups as the loops over them are made: kPlain and kZeros are of whole multiples of kUnrolled
/// steps, without and with zero points; kAny is any.
enum class GroupKind { kAny, kPlain, kZeros };
constexpr size_t kUnrolled = 4;

/// Codes of a step of 8 (4-bit) or 4 columns of a tile, a byte each: the second four in `b`.
struct Codes {
  Index a, b;
};
template <PackedCode kCode>
constexpr size_t kColsOfStep = kCode == PackedCode::kFourBit ? 8 : 4;

template <PackedCode kCode>
inline Codes unpack_line(const uint8_t* p) {
  const Index line = as_int(load(p));
  if constexpr (kCode == PackedCode::kEightBit) return {line, line};
  const Index mask = splat_int(0x0f0f0f0f);
  return {bit_and(line, mask), bit_and(shift_right<4>(line), mask)};
}

inline Vec load_scales(ScaleType type, const uint8_t* p) {
  if (type == ScaleType::kBf16) return load_bf16(p);
  return type == ScaleType::kF16 ? load_f16(p) : load(p);
}
/// 16 bytes, one in each lane.
inline Index load_zeros(const uint8_t* p) {
  uint32_t zeros[kLanes];
  for (int i = 0; i < kLanes; ++i) zeros[i] = p[i];
  return as_int(load(zeros));
}

// A source gives the groups of kTiles neighbouring tiles in turn: next_group, then every step; the
// scales and zero points of the group at any time.

/// The packed bytes of one tile.
template <PackedCode kPackedCode>
class PackedSource {
 public:
  static constexpr PackedCode kCode = kPackedCode;
  static constexpr int kTiles = 1;
  PackedSource(const PackedWeight& w, size_t tile, size_t group = 0)
      : w_(w),
        scale_bytes_(packed_scale_bytes(w.scale_type)),
        next_(w.tile(tile) + group * w.group_bytes) {}

  void next_group() {
    group_ = next_;
    prefetch_ahead(group_);
    line_ = group_ + scale_bytes_ + (w_.has_zeros ? kLanes : 0);
    next_ += w_.group_bytes;
  }
  void next_step(Codes (&codes)[kTiles]) {
    prefetch_ahead(line_);
    codes[0] = unpack_line<kCode>(line_);
    line_ += 64;
  }
  Vec scale(int) const { return load_scales(w_.scale_type, group_); }
  Index zeros(int) const { return load_zeros(group_ + scale_bytes_); }

 private:
  const PackedWeight& w_;
  const size_t scale_bytes_;
  const uint8_t *next_, *group_ = nullptr, *line_ = nullptr;
};

/// An unpacked panel of kPanelTiles tiles: a group is the scales of each tile in float32, its zero
/// points in int32, and the steps, a vector per four columns of each tile.
template <PackedCode kPackedCode>
class PanelSource {
 public:
  static constexpr PackedCode kCode = kPackedCode;
  static constexpr int kTiles = kPanelTiles;
  static constexpr size_t kStepVectors = kTiles * kColsOfStep<kCode> / 4;

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
          if (kColsOfStep<kCode> == 8) store(p + kTiles * kLanes, as_float(codes[0].b));
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
      if (kColsOfStep<kCode> == 8) codes[t].b = as_int(load(line_ + (kTiles + t) * kLanes));
    }
    line_ += kStepVectors * kLanes;
  }
  Vec scale(int tile) const { return load(group_ + tile * kLanes); }
  Index zeros(int tile) const { return as_int(load(group_ + (kTiles + tile) * kLanes)); }

 private:
  const size_t group_floats_;
  const float *next_, *group_ = nullptr, *line_ = nullptr;
};

/// Rows of x, and where they go in y.
struct Rows {
  const int8_t* values;
  const float* scales;
  const int32_t* starts;
  size_t stride, groups;  // from a row to the next
  float* y;
  size_t ldy;

  Rows skip(size_t rows) const {
    return {values + rows * stride,
            scales + rows * groups,
            starts + rows * groups,
            stride,
            groups,
            y + rows * ldy,
            ldy};
  }
};

/// What is multiplied: groups [begin, end) of the tiles from `tile` on.
struct Cut {
  size_t tile, begin, end;
};

inline size_t rows_of_tile(const PackedWeight& w, size_t tile) {
  const size_t left = w.rows - tile * kLanes;
  return left < kLanes ? left : kLanes;
}

/// Four bytes of a row of x in every lane.
inline Index splat_four(const int8_t* x) {
  uint32_t four;
  std::memcpy(&four, x, sizeof four);
  return splat_int(four);
}

/// Adds a step of columns to the sums of a group.
template <typename Source, int kRows>
inline void add_step(Source& source, const int8_t* values, size_t stride,
                     Carried (&c)[kRows][Source::kTiles]) {
  Codes codes[Source::kTiles];
  source.next_step(codes);
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    const int8_t* const row = values + i * stride;
#pragma GCC unroll 4
    for (int t = 0; t < Source::kTiles; ++t)
      if constexpr (Source::kCode == PackedCode::kFourBit)
        c[i][t] = carry(dot_nibbles(index_of(c[i][t]), codes[t].a, splat_four(row), codes[t].b,
                                    splat_four(row + 4)));
      else
        c[i][t] = carry(dot_bytes(index_of(c[i][t]), codes[t].a, splat_four(row)));
  }
}

/// The int32 sums of a group, from minus the zero point times the sum of x.
template <GroupKind kKind, typename Source, int kRows>
inline void sum_group(const PackedWeight& w, Source& source, size_t g, const Rows& x,
                      Carried (&c)[kRows][Source::kTiles]) {
  constexpr size_t kUnroll = kKind == GroupKind::kAny ? 1 : kUnrolled;
  constexpr size_t kCols = kColsOfStep<Source::kCode>;
  const bool zeros = kKind == GroupKind::kAny ? w.has_zeros : kKind == GroupKind::kZeros;
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    const Index start = splat_int(static_cast<uint32_t>(x.starts[i * x.groups + g]));
    for (int t = 0; t < Source::kTiles; ++t)
      c[i][t] = carry(zeros ? mul_16(source.zeros(t), start) : start);
  }
  const int8_t* values = x.values + g * w.group_stride;
  const int8_t* const end = values + w.group_stride;
  do {
#pragma GCC unroll 4
    for (size_t step = 0; step < kUnroll; ++step)
      add_step<Source, kRows>(source, values + step * kCols, x.stride, c);
    values += kUnroll * kCols;
  } while (values < end);
}

/// kRows rows of x times the tiles of a source. Sums of the groups before are taken from y.
template <GroupKind kKind, typename Source, int kRows>
inline void product_tile(const PackedWeight& w, const Cut& cut, Source source, const Rows& x,
                         const float* bias) {
  constexpr int kTiles = Source::kTiles;
  Vec acc[kRows][kTiles];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i)
    for (int t = 0; t < kTiles; ++t) {
      const float* const y = x.y + i * x.ldy + t * kLanes;
      acc[i][t] = cut.begin == 0 ? zero() : load_some(y, rows_of_tile(w, cut.tile + t));
    }
  const float* y = x.y;
  for (size_t g = cut.begin; g < cut.end; ++g, y += x.ldy) {
    // A row of y with each group: all of them at once would keep the lines of the panel waiting.
    if (g - cut.begin < kRows)
      for (int t = 0; t < kTiles; ++t) __builtin_prefetch(y + t * kLanes, 1);
    Carried c[kRows][kTiles];
    source.next_group();
    sum_group<kKind, Source, kRows>(w, source, g, x, c);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i)
      for (int t = 0; t < kTiles; ++t) {
        const Vec scale = mul(source.scale(t), splat(x.scales[i * x.groups + g]));
        acc[i][t] = fma(to_float(index_of(c[i][t])), scale, acc[i][t]);
      }
  }
  for (int t = 0; t < kTiles; ++t) {
    const size_t n = rows_of_tile(w, cut.tile + t);
    const bool add_bias = bias != nullptr && cut.end == w.groups;
    const Vec offset = add_bias ? load_some(bias + (cut.tile + t) * kLanes, n) : zero();
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      float* const y = x.y + i * x.ldy + t * kLanes;
      const Vec result = add_bias ? add(acc[i][t], offset) : acc[i][t];
      n < kLanes ? store_partial(y, result, n) : store(y, result);
    }
  }
}

template <GroupKind kKind, typename Source, int kRows>
inline void product_rows(size_t rows, const PackedWeight& w, const Cut& cut, const Source& source,
                         const Rows& x, const float* bias) {
  if constexpr (kRows > 1)
    if (rows < kRows) return product_rows<kKind, Source, kRows - 1>(rows, w, cut, source, x, bias);
  product_tile<kKind, Source, kRows>(w, cut, source, x, bias);
}

/// All rows of x, in even shares of at most kRows.
template <GroupKind kKind, typename Source, int kRows>
inline void product_shares(size_t count, const PackedWeight& w, const Cut& cut,
                           const Source& source, const Rows& x, const float* bias) {
  for (size_t row = 0, shares = (count + kRows - 1) / kRows; shares > 0; --shares) {
    const size_t rows = (count - row + shares - 1) / shares;
    product_rows<kKind, Source, kRows>(rows, w, cut, source, x.skip(row), bias);
    row += rows;
  }
}

template <typename Source, int kRows>
inline void product_all(size_t count, const PackedWeight& w, const Cut& cut, const Source& source,
                        const Rows& x, const float* bias) {
  if (w.group_stride % (kUnrolled * kColsOfStep<Source::kCode>) != 0)
    product_shares<GroupKind::kAny, Source, kRows>(count, w, cut, source, x, bias);
  else if (w.has_zeros)
    product_shares<GroupKind::kZeros, Source, kRows>(count, w, cut, source, x, bias);
  else
    product_shares<GroupKind::kPlain, Source, kRows>(count, w, cut, source, x, bias);
}

inline Rows rows_of(const PackedWeight& w, const PackedProductArgs& a) {
  const Rows all = {static_cast<const int8_t*>(a.x.values),
                    a.x.scales,
                    a.x.starts,
                    a.x.stride,
                    w.groups,
                    a.y,
                    a.ldy};
  Rows rows = all.skip(a.range.first);
  rows.y = a.y;
  return rows;
}

template <PackedCode kCode>
inline void few_of(const PackedWeight& w, const PackedProductArgs& a) {
  Rows x = rows_of(w, a);
  const size_t end = a.range.tile + a.range.tiles;
  for (size_t tile = a.range.tile; tile < end; ++tile, x.y += kLanes)
    product_all<PackedSource<kCode>, kShareRows>(a.range.count, w, {tile, 0, w.groups},
                                                 PackedSource<kCode>(w, tile), x, a.bias);
}

template <PackedCode kCode>
inline void many_of(const PackedWeight& w, const PackedProductArgs& a) {
  using Source = PanelSource<kCode>;
  const size_t group_floats = Source::group_vectors(w) * kLanes;
  const size_t most = kPanelBytes / (group_floats * sizeof(float));
  const size_t depth = most < w.groups ? most : w.groups;
  float* const panel = scratch(Scratch::kPanel, depth * group_floats);
  Rows x = rows_of(w, a);
  size_t tile = a.range.tile, left = a.range.tiles;
  for (; left >= kPanelTiles; left -= kPanelTiles) {
    for (size_t begin = 0; begin < w.groups; begin += depth) {
      const size_t end = begin + depth < w.groups ? begin + depth : w.groups;
      Source::unpack(w, tile, begin, end, panel);
      product_all<Source, kManyRows>(a.range.count, w, {tile, begin, end}, Source(w, panel), x,
                                     a.bias);
    }
    tile += kPanelTiles;
    x.y += kPanelTiles * kLanes;
  }
  if (left == 0) return;
  PackedProductArgs rest = a;
  rest.range.tile = tile;
  rest.range.tiles = left;
  rest.y = x.y;
  few_of<kCode>(w, rest);
}

inline void few_int8(const PackedWeight& w, const PackedProductArgs& a) {
  w.code == PackedCode::kFourBit ? few_of<PackedCode::kFourBit>(w, a)
                                 : few_of<PackedCode::kEightBit>(w, a);
}
inline void many_int8(const PackedWeight& w, const PackedProductArgs& all) {
  const size_t fitting = kRowsBytes / all.x.stride;
  const size_t most = fitting < kLeastManyRows ? kLeastManyRows : fitting;
  PackedProductArgs a = all;
  size_t left = all.range.count;
  for (size_t parts = (left + most - 1) / most; parts > 0; --parts) {
    a.range.count = (left + parts - 1) / parts;
    w.code == PackedCode::kFourBit ? many_of<PackedCode::kFourBit>(w, a)
                                   : many_of<PackedCode::kEightBit>(w, a);
    a.range.first += a.range.count;
    a.y += a.range.count * a.ldy;
    left -= a.range.count;
  }
}

}  // namespace
}  // namespace llmkit
