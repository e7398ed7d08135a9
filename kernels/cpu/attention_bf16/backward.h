#pragma once

#include "base/simd/subnormals.h"
#include "cpu/attention_bf16/tile.h"

// The gradient, a tile of query rows and a block of keys at a time: include <isa>_products.h first.

namespace llmkit {
namespace {  // a copy per file: built with its flags

class RoundedGradient {
 public:
  RoundedGradient(const AttentionArgs& args, const AttentionGradArgs& grad,
                  const RoundedHead& keys_and_values, const RowTile& rows, float* scratch)
      : p(args),
        g(grad),
        head_(keys_and_values),
        tile_(rows),
        lanes_(tile_, head_.segment),
        size_(rounded_size(args.E)),
        weights_(scratch),
        dweights_(weights_ + kBlockSize),
        dq_(dweights_ + kBlockSize),
        q_(reinterpret_cast<uint16_t*>(dq_ + size_ * kTileRows)),
        dy_(q_ + size_ * kTileRows),
        q_rows_(dy_ + size_ * kTileRows),
        dy_rows_(q_rows_ + size_ * kTileRows),
        rounded_weights_(dy_rows_ + size_ * kTileRows),
        rounded_dscores_(rounded_weights_ + kBlockSize),
        dscore_pairs_(rounded_dscores_ + kBlockSize) {
    pair_along_values(tile_, p.E, p.q, dq_, q_);
    pair_along_values(tile_, p.E, g.dy, dq_, dy_);
    const uint64_t infinite =
        pair_along_rows(tile_, p.E, p.q, q_rows_) | pair_along_rows(tile_, p.E, g.dy, dy_rows_);
    std::memset(dq_, 0, size_ * kTileRows * sizeof(float));
    for (int v = 0; v < kRowVecs; ++v) read_statistics(v, infinite);
  }

  void run(size_t split, size_t splits) {
    const BlockRange blocks(tile_, head_.segment);
    const size_t skip = (split + splits - blocks.begin % splits) % splits;
    for (size_t block = blocks.begin + skip; block < blocks.end; block += splits) add_keys(block);
  }

  /// dq of the tile's row i is at place(i).
  template <typename Place>
  void write(const Place& place) const {
    Vec factors[kRowVecs];
    for (Vec& factor : factors) factor = splat(1);
    store_rows(tile_, p.E, dq_, factors, place);
  }

 private:
  /// All weights of a row that has infinite values are NaN: what is multiplied by them has zeros
  /// there, for a weight of 0 does not take NaN out of a product.
  void read_statistics(int v, uint64_t infinite) {
    float sums[kLanes] = {}, products[kLanes] = {};
    for (size_t i = 0; i < kLanes && v * kLanes + i < tile_.count; ++i) {
      const QueryRow& row = tile_.rows[v * kLanes + i];
      const bool finite = (infinite >> (v * kLanes + i) & 1) == 0;
      sums[i] = finite ? g.log_sum_exp[row.statistic] : __builtin_nanf("");
      with_values(g.y, [&](auto y) {
        products[i] = sum_chunks(
            p.E, [&](auto c) { return mul(c.get(y + row.offset), c.get(g.dy + row.offset)); });
      });
    }
    log_sum_exp_[v] = mul(load(sums), splat(kLog2OfE));
    along_[v] = load(products);
    if (v < tile_.vecs) score_[v] = Score(p, tile_, v);
  }

  /// Adds what a block of keys and the tile have to do with each other.
  void add_keys(size_t block) {
    const size_t at = block * kRoundedKeys * size_;
    const ProductSize scores = {kRoundedKeys, kTileRows, size_};
    multiply<false>(scores, {head_.key_rows + at, size_}, {q_, 2 * kTileRows},
                    {weights_, kTileRows});
    multiply<false>(scores, {head_.value_rows + at, size_}, {dy_, 2 * kTileRows},
                    {dweights_, kTileRows});
    const int32_t key = static_cast<int32_t>(block * kRoundedKeys);
    const bool whole = lanes_.all_see(key, key + static_cast<int32_t>(kRoundedKeys));
    for (int v = 0; v < kRowVecs; ++v)
      if (v >= tile_.vecs)
        clear(v);
      else if (whole && score_[v].plain())
        make_weights<true>(v, key);
      else
        make_weights<false>(v, key);
    const ProductSize keys = {kRoundedKeys, size_, kTileRows};
    multiply<true>(keys, {rounded_weights_, kTileRows}, {dy_rows_, 2 * size_},
                   {head_.dv + at, size_});
    multiply<true>(keys, {rounded_dscores_, kTileRows}, {q_rows_, 2 * size_},
                   {head_.dk + at, size_});
    multiply<true>({size_, kTileRows, kRoundedKeys}, {head_.key_columns + at, kRoundedKeys},
                   {dscore_pairs_, 2 * kTileRows}, {dq_, kTileRows});
  }

  /// From q·k in weights_ and dy·v in dweights_ to the softmax and the gradient to q·k, rounded;
  /// zeros where a row does not see a key.
  template <bool kPlain>
  void make_weights(int v, int32_t key) {
    for (int32_t i = 0; i < static_cast<int32_t>(kRoundedKeys); i += 2) {
      Vec d[2];
#pragma GCC unroll 2
      for (int32_t j = i; j < i + 2; ++j) {
        const size_t at = static_cast<size_t>(j) * kTileRows + v * kLanes;
        const Weighed one = weigh<kPlain>(v, key + j, load(weights_ + at), load(dweights_ + at));
        store_rounded(rounded_weights_ + at, one.weight);
        store_rounded(rounded_dscores_ + at, one.dscore);
        d[j - i] = one.dscore;
      }
      store_pairs(dscore_pairs_ + i * kTileRows + 2 * v * kLanes, d[0], d[1]);
    }
  }

  struct Weighed {
    Vec weight, dscore;
  };
  template <bool kPlain>
  Weighed weigh(int v, int32_t key, Vec product, Vec dweight) const {
    if constexpr (kPlain) {
      const Vec weight = exp2(fma(product, splat(p.scale * kLog2OfE), negate(log_sum_exp_[v])));
      return {weight, mul(mul(weight, splat(p.scale)), sub(dweight, along_[v]))};
    } else {
      const Vec scaled = mul(product, splat(p.scale));
      const int32_t place = key + static_cast<int32_t>(head_.segment.key_begin);
      const Mask sees = lanes_.seen(v, key);
      const Vec score = score_[v](scaled, place);
      const Vec weight = exp2(fma(score, splat(kLog2OfE), negate(log_sum_exp_[v])));
      const Vec d = mul(mul(weight, splat(p.scale)), sub(dweight, along_[v]));
      return {select(sees, weight, zero()), select(sees, score_[v].derivative(scaled, d), zero())};
    }
  }

  /// Where there are no rows.
  void clear(int v) {
    for (size_t i = 0; i < kRoundedKeys; ++i) {
      const size_t at = i * kTileRows + v * kLanes;
      store_rounded(rounded_weights_ + at, zero());
      store_rounded(rounded_dscores_ + at, zero());
      if (i % 2 == 0) store_pairs(dscore_pairs_ + i * kTileRows + 2 * v * kLanes, zero(), zero());
    }
  }

  const AttentionArgs& p;
  const AttentionGradArgs& g;
  const RoundedHead& head_;
  const RowTile& tile_;
  const LaneKeys lanes_;
  const size_t size_;
  float *weights_, *dweights_;              // [kRoundedKeys, kTileRows]
  float* dq_;                               // [rounded E, kTileRows]
  uint16_t *q_, *dy_, *q_rows_, *dy_rows_;  // pairs along E, pairs along the rows
  uint16_t *rounded_weights_, *rounded_dscores_, *dscore_pairs_;
  Score score_[kRowVecs];
  Vec log_sum_exp_[kRowVecs], along_[kRowVecs];  // of base 2; dy · y
};

inline void grad_rows(const AttentionArgs& p, const AttentionGradArgs& g, const RoundedHead& head,
                      const RoundedGradTask& task, float* scratch) {
  const ProductScope products;
  const FlushSubnormals flush;
  const AttentionTask rows = {head.segment.b, head.kv, task.begin, task.end};
  for (size_t row = task.begin; row < task.end;) {
    const RowTile tile = row_tile(p, rows, row);
    RoundedGradient gradient(p, g, head, tile, scratch);
    gradient.run(task.split, task.splits);
    if (task.dq == nullptr)
      gradient.write([&](size_t i) { return g.dq + tile.rows[i].offset; });
    else
      gradient.write([&](size_t i) { return task.dq + (row - task.begin + i) * p.E; });
    row += tile.count;
  }
}

}  // namespace
}  // namespace llmkit
