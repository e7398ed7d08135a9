#pragma once

#include "base/simd/axpy.h"
#include "cpu/attention/tiles.h"

// The gradient, a tile of query rows and a block of keys at a time: include base/simd/<isa>.h and
// name kRowVecs and kSplats first.

namespace llmkit {
namespace {  // a copy per instruction set

/// What the gradient of a tile's rows needs besides the keys.
struct GradTile {
  const AttentionArgs& p;
  const AttentionGradArgs& g;
  const AttentionPages& pages;
  const AttentionGradTask& task;
  const RowTile tile;
  float *q, *dy, *dq;         // [padded E, kTileRows]
  float *q_rows, *dy_rows;    // [kTileRows, padded E], q times the scale; finite, see pack_row
  float *weights, *dweights;  // [kBufferKeys, kTileRows]
  Score score[kRowVecs];
  Vec log_sum_exp[kRowVecs], along[kRowVecs];  // along = dy · y

  GradTile(const AttentionArgs& args, const AttentionGradArgs& grad,
           const AttentionPages& keys_and_values, const AttentionGradTask& part, size_t begin,
           float* scratch)
      : p(args),
        g(grad),
        pages(keys_and_values),
        task(part),
        tile(row_tile(args, part.rows, begin)) {
    const size_t size = padded(p.E) * kTileRows;
    float** const places[] = {&q, &dy, &dq, &q_rows, &dy_rows};
    for (float** place : places) {
      *place = scratch;
      scratch += size;
    }
    weights = scratch;
    dweights = weights + kBufferKeys * kTileRows;
    load_rows(tile, p.E, p.q.floats(), p.scale, q);
    load_rows(tile, p.E, g.dy, 1, dy);
    std::memset(dq, 0, size * sizeof(float));
    for (size_t i = 0; i < tile.count; ++i) pack_row(i);
    for (int vec = 0; vec < tile.vecs; ++vec) read_statistics(vec);
  }

  /// A weight of 0 does not take NaN out of a product: what is not finite becomes 0, and
  /// read_statistics makes NaN of all weights of its row.
  void pack_row(size_t i) {
    const size_t offset = tile.rows[i].offset;
    const auto finite = [](Vec x) {
      return select(less(magnitude(x), splat(__builtin_inff())), x, zero());
    };
    each_chunk(p.E, [&](auto c) {
      c.put(q_rows + i * p.E, finite(mul(c.get(p.q.floats() + offset), splat(p.scale))));
      c.put(dy_rows + i * p.E, finite(c.get(g.dy + offset)));
    });
  }
  /// NaN where q or dy of a row is not finite, else 0.
  float nan_of(const QueryRow& row) const {
    return sum_chunks(p.E, [&](auto c) {
      const Vec q = mul(c.get(p.q.floats() + row.offset), splat(p.scale)),
                dy = c.get(g.dy + row.offset);
      return fma(q, zero(), mul(dy, zero()));
    });
  }

  void read_statistics(int vec) {
    float sums[kLanes] = {}, products[kLanes] = {};
    for (size_t i = 0; i < kLanes && vec * kLanes + i < tile.count; ++i) {
      const QueryRow& row = tile.rows[vec * kLanes + i];
      sums[i] = g.log_sum_exp[row.statistic] + nan_of(row);
      products[i] = sum_chunks(p.E, [&](auto c) {
        return mul(c.get(g.y.floats() + row.offset), c.get(g.dy + row.offset));
      });
    }
    log_sum_exp[vec] = load(sums);
    along[vec] = load(products);
    score[vec] = Score(p, tile, vec);
  }

  /// From q·k in weights and dy·v in dweights to the softmax weights and the gradient to q·k, zeros
  /// where a row does not see a key.
  void make_weights(const KeyRuns& runs, const KeyRun& run, const SeenMask* seen) const {
    for (int vec = run.vec_begin; vec < run.vec_end; ++vec) {
      const size_t at = runs.place(run.begin) * kTileRows + vec * kLanes;
      float *weight_at = weights + at, *dweight_at = dweights + at;
      for (int32_t key = run.begin; key < run.end; ++key) {
        const Vec product = load(weight_at);
        Vec weight = exp_of_negative(sub(score[vec](product, key), log_sum_exp[vec]));
        Vec d = mul(weight, sub(load(dweight_at), along[vec]));
        d = score[vec].derivative(product, d);
        if (!run.whole) {
          const Mask sees = seen[vec](key);
          weight = select(sees, weight, zero());
          d = select(sees, d, zero());
        }
        store(weight_at, weight);
        store(dweight_at, d);
        weight_at += kTileRows;
        dweight_at += kTileRows;
      }
    }
  }

  size_t key_offset(int32_t key) const {
    return ((task.rows.b * p.S + static_cast<size_t>(key)) * p.K + task.rows.kv) * p.E;
  }
  /// to[key, :] += sum over rows, ascending, of weights[key, row] · rows[row, :]
  void add_to_keys(const KeyRuns& runs, const KeyRun& run, const float* from, const float* rows,
                   float* to) const {
    const size_t begin = run.vec_begin * kLanes, end = run.vec_end * kLanes;
    const float* const first = from + runs.place(run.begin) * kTileRows + begin;
    axpy_product({static_cast<size_t>(run.end - run.begin), p.E,
                  (end < tile.count ? end : tile.count) - begin, first, kTileRows, 1,
                  rows + begin * p.E, p.E, to + key_offset(run.begin), p.K * p.E, true});
  }

  /// Adds what the keys [from, from + kGradKeys) and the tile have to do with each other.
  void add_keys(int32_t from) {
    const SeenKeys seen_keys(tile, [from](const QueryRow&) {
      return std::pair<int32_t, int32_t>(from, from + static_cast<int32_t>(kGradKeys) - 1);
    });
    SeenMask seen[kRowVecs];
    for (int vec = 0; vec < tile.vecs; ++vec) seen[vec] = SeenMask(seen_keys, vec);
    const KeyRuns runs = key_runs(tile, seen_keys);
    for (const KeyRun& run : runs) {
      run_products(runs, run, p.E, q, pages.keys, weights, nullptr);
      run_products(runs, run, p.E, dy, pages.value_tiles, dweights, nullptr);
      make_weights(runs, run, seen);
      run_values(runs, run, p.E, dweights, pages.values, seen, dq);
      add_to_keys(runs, run, weights, dy_rows, g.dv);
      add_to_keys(runs, run, dweights, q_rows, g.dk);
    }
  }
};

/// Sets dk and dv of the task's keys to zero.
inline void clear_key_gradients(const AttentionArgs& p, const AttentionGradArgs& g,
                                const AttentionGradTask& task) {
  for (size_t key = task.split * kGradKeys; key < p.S; key += task.splits * kGradKeys)
    for (size_t j = key; j < key + kGradKeys && j < p.S; ++j) {
      const size_t offset = ((task.rows.b * p.S + j) * p.K + task.rows.kv) * p.E;
      std::memset(g.dk + offset, 0, p.E * sizeof(float));
      std::memset(g.dv + offset, 0, p.E * sizeof(float));
    }
}

inline void grad_rows(const AttentionArgs& p, const AttentionGradArgs& g,
                      const AttentionPages& pages, const AttentionGradTask& task, float* scratch) {
  if (task.rows.begin == 0) clear_key_gradients(p, g, task);
  const int32_t own = static_cast<int32_t>(task.split * kGradKeys);
  const int32_t step = static_cast<int32_t>(task.splits * kGradKeys);
  for (size_t row = task.rows.begin; row < task.rows.end;) {
    GradTile tile(p, g, pages, task, row, scratch);
    const int32_t low = tile.tile.low / step * step + own;
    for (int32_t key = low; key <= tile.tile.high; key += step) tile.add_keys(key);
    Vec factors[kRowVecs];
    for (Vec& factor : factors) factor = splat(p.scale);
    float* const dq = task.dq + (row - task.rows.begin) * p.E;
    store_rows(tile.tile, p.E, tile.dq, factors, [&](size_t i) { return dq + i * p.E; });
    row += tile.tile.count;
  }
}

}  // namespace
}  // namespace llmkit
