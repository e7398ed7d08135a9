#pragma once

#include "base/simd/subnormals.h"
#include "cpu/attention_bf16/tile.h"

// The forward pass of a tile of query rows: include <isa>_products.h first.

namespace llmkit {
namespace {  // a copy per file: built with its flags

/// One tile: its scratch, and what is known of its rows after some blocks of keys.
class RoundedForward {
 public:
  RoundedForward(const AttentionArgs& args, const RoundedHead& keys_and_values,
                 const AttentionTask& task, size_t begin, float* scratch)
      : p(args),
        head_(keys_and_values),
        tile_(row_tile(args, task, begin)),
        lanes_(tile_, head_.segment),
        size_(rounded_size(args.E)),
        scores_(scratch),
        out_(scores_ + kBlockSize),
        q_(reinterpret_cast<uint16_t*>(out_ + size_ * kTileRows)),
        weights_(q_ + size_ * kTileRows) {
    pair_along_values(tile_, p.E, p.q, out_, q_);
    std::memset(out_, 0, size_ * kTileRows * sizeof(float));
    for (int v = 0; v < kRowVecs; ++v) {
      largest_[v] = splat(-__builtin_inff());
      total_[v] = zero();
    }
    for (int v = 0; v < tile_.vecs; ++v) score_[v] = Score(p, tile_, v);
  }

  size_t rows() const { return tile_.count; }

  void run() {
    const BlockRange blocks(tile_, head_.segment);
    for (size_t block = blocks.begin; block < blocks.end; ++block) add_keys(block);
  }

  void write(const Elements& y, float* log_sum_exp) {
    Vec inverse[kRowVecs];
    for (int v = 0; v < tile_.vecs; ++v) {
      const Mask none = equal(total_[v], zero());
      const Vec total = select(none, splat(1), total_[v]);
      inverse[v] = div(splat(1), total);
      if (log_sum_exp == nullptr) continue;
      float sums[kLanes];
      store(sums, fma(select(none, zero(), largest_[v]), splat(1 / kLog2OfE), log(total)));
      for (size_t i = 0; i < kLanes && v * kLanes + i < tile_.count; ++i)
        log_sum_exp[tile_.rows[v * kLanes + i].statistic] = sums[i];
    }
    const auto store_to = [&](auto values) {
      store_rows(tile_, p.E, out_, inverse,
                 [&](size_t i) { return values + tile_.rows[i].offset; });
    };
    if (y.is_bf16)
      store_to(y.halves());
    else
      store_to(y.floats());
  }

 private:
  /// Adds a block of keys to the sums of every row; nothing changes for a row that sees none of it.
  void add_keys(size_t block) {
    const int32_t key = static_cast<int32_t>(block * kRoundedKeys);
    const bool whole = lanes_.all_see(key, key + static_cast<int32_t>(kRoundedKeys));
    const size_t at = block * kRoundedKeys * size_;
    values_ = head_.value_columns + at;
    keys_ = head_.key_rows + at + kRoundedKeys * size_;
    multiply<false>({kRoundedKeys, kTileRows, size_}, {head_.key_rows + at, size_},
                    {q_, 2 * kTileRows}, {scores_, kTileRows});
    const bool plain = whole && score_[0].plain() && p.scale > 0;
    for (int v = 0; v < tile_.vecs; ++v) {
      if (!plain) make_scores(v, key);
      weigh(v, splat(kLog2OfE * (plain ? p.scale : 1)));
    }
    for (int v = tile_.vecs; v < kRowVecs; ++v)
      for (size_t i = 0; i < kRoundedKeys; i += 2)
        _mm512_storeu_si512(weights_ + i * kTileRows + 2 * v * kLanes, _mm512_setzero_si512());
    multiply<true>({size_, kTileRows, kRoundedKeys}, {head_.value_columns + at, kRoundedKeys},
                   {weights_, 2 * kTileRows}, {out_, kTileRows});
  }

  /// The scores of a vector of rows from their products, -inf for keys that they do not see.
  void make_scores(int v, int32_t key) {
    const int32_t start = key + static_cast<int32_t>(head_.segment.key_begin);
    float* at = scores_ + v * kLanes;
    for (int32_t i = 0; i < static_cast<int32_t>(kRoundedKeys); ++i, at += kTileRows) {
      const Vec s = score_[v](mul(load(at), splat(p.scale)), start + i);
      store(at, select(lanes_.seen(v, key + i), s, splat(-__builtin_inff())));
    }
  }

  /// Turns factor · scores, of base 2, into 2^(score - largest), and puts what is known so far on
  /// that scale.
  void weigh(int v, Vec factor) {
    const float* const scores = scores_ + v * kLanes;
    Vec most[4] = {load(scores), load(scores + kTileRows), load(scores + 2 * kTileRows),
                   load(scores + 3 * kTileRows)};
    for (size_t i = 4; i < kRoundedKeys; i += 4)
#pragma GCC unroll 4
      for (size_t j = 0; j < 4; ++j) most[j] = larger(load(scores + (i + j) * kTileRows), most[j]);
    const Vec block = larger(larger(most[0], most[1]), larger(most[2], most[3]));
    const Vec before = largest_[v], none = splat(-__builtin_inff());
    largest_[v] = larger(before, mul(block, factor));
    const Vec shift = select(equal(largest_[v], none), zero(), largest_[v]);
    const __mmask16 grown = _mm512_cmp_ps_mask(largest_[v].v, before.v, _CMP_NEQ_UQ);
    if (grown != 0) rescale(v, exp2(sub(before, shift)));
    add_weights(v, factor, shift);
  }

  void rescale(int v, Vec factor) {
    total_[v] = mul(total_[v], factor);
    float* at = out_ + v * kLanes;
    for (size_t e = 0; e < p.E; ++e, at += kTileRows) store(at, mul(load(at), factor));
  }

  void add_weights(int v, Vec factor, Vec shift) {
    const float* scores = scores_ + v * kLanes;
    uint16_t* to = weights_ + 2 * v * kLanes;
    Vec total[2] = {zero(), zero()};
    for (size_t i = 0; i < kRoundedKeys; i += 2, to += 2 * kTileRows) {
      Vec weight[2];
#pragma GCC unroll 2
      for (int j = 0; j < 2; ++j, scores += kTileRows) {
        weight[j] = exp2(fma(load(scores), factor, negate(shift)));
        total[j] = add(total[j], weight[j]);
      }
      store_pairs(to, weight[0], weight[1]);
      const size_t line = v * kRoundedKeys / 2 + i / 2;
      prefetch_block(values_, size_, line, kRowVecs * kRoundedKeys / 2);
      prefetch_block(keys_, size_, line, kRowVecs * kRoundedKeys / 2);
    }
    total_[v] = add(total_[v], add(total[0], total[1]));
  }

  const AttentionArgs& p;
  const RoundedHead& head_;
  const RowTile tile_;
  const LaneKeys lanes_;
  const size_t size_;
  const uint16_t *values_ = nullptr, *keys_ = nullptr;  // of this block, and of the next one
  float *scores_, *out_;    // [kRoundedKeys, kTileRows], [rounded E, kTileRows]
  uint16_t *q_, *weights_;  // pairs of [rounded E, kTileRows] and [kRoundedKeys, kTileRows]
  Score score_[kRowVecs];
  Vec largest_[kRowVecs],
      total_[kRowVecs];  // so far: the largest score, of base 2, and the sum of weights
};

inline void forward_rows(const AttentionArgs& p, const RoundedHead& head, const AttentionTask& task,
                         const Elements& y, float* log_sum_exp, float* scratch) {
  const ProductScope products;
  const FlushSubnormals flush;
  for (size_t row = task.begin; row < task.end;) {
    RoundedForward tile(p, head, task, row, scratch);
    tile.run();
    tile.write(y, log_sum_exp);
    row += tile.rows();
  }
}

}  // namespace
}  // namespace llmkit
