#pragma once

#include "cpu/attention/tiles.h"

// The forward pass of a tile of query rows: include base/simd/<isa>.h and name kRowVecs and kSplats
// first.

namespace llmkit {
namespace {  // a copy per instruction set

/// A softmax whose keys come block by block, for the rows of a vector: the largest score so far,
/// and the sum of exp(score - largest).
struct RunningSoftmax {
  Vec largest, total;
};

/// What is subtracted before exp: the largest score, or 0 where there is none above -inf.
inline Vec shift_of(Vec largest) {
  return select(equal(largest, splat(-__builtin_inff())), zero(), largest);
}

/// Factors of what is known so far and of the next block, as both are put on one scale.
struct Rescale {
  Vec before, block;
};
inline Rescale rescale(RunningSoftmax& all, const RunningSoftmax& block, Mask none) {
  const Vec most = larger(all.largest, block.largest), shift = shift_of(most);
  const Rescale factors = {exp_of_negative(sub(all.largest, shift)),
                           exp_of_negative(sub(block.largest, shift))};
  const Vec total = fma(block.total, factors.block, mul(all.total, factors.before));
  all.largest = select(none, all.largest, most);
  all.total = select(none, all.total, total);
  return factors;
}

/// One tile: its scratch, and what is known of its rows after some blocks of keys.
struct ForwardTile {
  const AttentionArgs& p;
  const AttentionPages& pages;
  const RowTile tile;
  float *q, *block, *out;  // [padded E, kTileRows]: out sums up values, block those of one block
  float* weights;          // [kBufferKeys, kTileRows]
  Score score[kRowVecs];
  SeenMask seen[kRowVecs];
  RunningSoftmax rows[kRowVecs];

  ForwardTile(const AttentionArgs& args, const AttentionPages& keys_and_values,
              const AttentionTask& task, size_t begin, float* scratch)
      : p(args),
        pages(keys_and_values),
        tile(row_tile(args, task, begin)),
        q(scratch),
        block(q + padded(p.E) * kTileRows),
        out(block + padded(p.E) * kTileRows),
        weights(out + padded(p.E) * kTileRows) {
    load_rows(tile, p.E, p.q.floats(), p.scale, q);
    for (int vec = 0; vec < tile.vecs; ++vec) score[vec] = Score(p, tile, vec);
  }

  /// Scores of a run's keys, and the largest of each row.
  void make_scores(const KeyRuns& runs, const KeyRun& run, Vec* most) const {
    const bool plain = run.whole && score[0].plain();
    run_products(runs, run, p.E, q, pages.keys, weights, plain ? most : nullptr);
    if (plain) return;
    for (int vec = run.vec_begin; vec < run.vec_end; ++vec)
      each_weight(runs, run, vec, [&](int32_t key, float* at) {
        const Vec s = score[vec](load(at), key);
        store(at, s);
        most[vec] = larger(run.whole ? s : select(seen[vec](key), s, most[vec]), most[vec]);
      });
  }

  /// Turns scores into exp(score - largest) and adds these up.
  void make_weights(const KeyRuns& runs, const KeyRun& run, const Vec* most, Vec* total) const {
    for (int vec = run.vec_begin; vec < run.vec_end; ++vec) {
      const Vec shift = shift_of(most[vec]);
      each_weight(runs, run, vec, [&](int32_t key, float* at) {
        Vec weight = exp_of_negative(sub(load(at), shift));
        if (!run.whole) weight = select(seen[vec](key), weight, zero());
        store(at, weight);
        total[vec] = add(total[vec], weight);
      });
    }
  }

  /// body(key, where its products with the rows of a vector are) for the keys of a run.
  template <typename Body>
  void each_weight(const KeyRuns& runs, const KeyRun& run, int vec, const Body& body) const {
    float* at = weights + runs.place(run.begin) * kTileRows + vec * kLanes;
    for (int32_t key = run.begin; key < run.end; ++key, at += kTileRows) body(key, at);
  }

  /// The keys of block n of each row; sets what is seen of them, where not all is.
  KeyRuns block_runs(int32_t n) {
    if (tile.all_see((n + 1) * kKeyBlock))
      return whole_runs(tile, tile.low + n * kKeyBlock, tile.low + (n + 1) * kKeyBlock);
    const SeenKeys keys(tile, [n](const QueryRow& row) {
      const int32_t from = row.first + n * kKeyBlock;
      return std::pair<int32_t, int32_t>(from, from + kKeyBlock - 1);
    });
    for (int vec = 0; vec < tile.vecs; ++vec) seen[vec] = SeenMask(keys, vec);
    return key_runs(tile, keys);
  }

  /// Adds block n of each row's keys.
  void add_keys(int32_t n) {
    const KeyRuns runs = block_runs(n);
    Vec most[kRowVecs], total[kRowVecs];
    for (int vec = 0; vec < tile.vecs; ++vec) {
      most[vec] = splat(-__builtin_inff());
      total[vec] = zero();
    }
    for (const KeyRun& run : runs) make_scores(runs, run, most);
    for (const KeyRun& run : runs) make_weights(runs, run, most, total);
    float* const sums = n == 0 ? out : block;
    std::memset(sums, 0, padded(p.E) * kTileRows * sizeof(float));
    for (const KeyRun& run : runs) run_values(runs, run, p.E, weights, pages.values, seen, sums);
    for (int vec = 0; vec < tile.vecs; ++vec)
      if (n == 0)
        rows[vec] = {most[vec], total[vec]};
      else
        add_block(vec, {most[vec], total[vec]});
  }

  /// Puts a block after the first to what is known of a vector of rows.
  void add_block(int vec, const RunningSoftmax& softmax) {
    const Mask none = equal(softmax.total, zero());  // of the block's keys is seen
    const Rescale factors = rescale(rows[vec], softmax, none);
    float* to = out + vec * kLanes;
    const float* from = block + vec * kLanes;
    for (size_t e = 0; e < p.E; ++e, to += kTileRows, from += kTileRows) {
      const Vec before = load(to);
      store(to, select(none, before, fma(load(from), factors.block, mul(before, factors.before))));
    }
  }

  void write(float* y, float* log_sum_exp) {
    Vec inverse[kRowVecs];
    for (int vec = 0; vec < tile.vecs; ++vec) {
      const Mask none = equal(rows[vec].total, zero());
      const Vec total = select(none, splat(1), rows[vec].total);
      inverse[vec] = div(splat(1), total);
      if (log_sum_exp == nullptr) continue;
      float sums[kLanes];
      store(sums, add(select(none, zero(), rows[vec].largest), log(total)));
      for (size_t i = 0; i < kLanes && vec * kLanes + i < tile.count; ++i)
        log_sum_exp[tile.rows[vec * kLanes + i].statistic] = sums[i];
    }
    store_rows(tile, p.E, out, inverse, [&](size_t i) { return y + tile.rows[i].offset; });
  }
};

inline void forward_rows(const AttentionArgs& p, const AttentionPages& pages,
                         const AttentionTask& task, float* y, float* log_sum_exp, float* scratch) {
  for (size_t row = task.begin; row < task.end;) {
    ForwardTile tile(p, pages, task, row, scratch);
    int32_t n = 0;
    do {  // once even where no row sees a key, for there are zeros to write
      tile.add_keys(n);
    } while (++n * kKeyBlock < tile.tile.longest);
    tile.write(y, log_sum_exp);
    row += tile.tile.count;
  }
}

}  // namespace
}  // namespace llmkit
