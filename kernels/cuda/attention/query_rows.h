#pragma once

#include "cuda/attention/attention.h"
#include "cuda/attention/key_rows.h"

// The query rows of one key/value head: row r is query r / group, head r % group of those that
// share the key/value head.

namespace llmkit::cuda {

/// What the kernels of attention get.
struct AttentionParams {
  int T, S, H, E, group;
  ConstElements q;  // [B, T, H, E]; float32 where nothing is rounded
  const int32_t* first;
  const int32_t* last;
  const int32_t* starts;     // [B, T]: the first key of a query's sequence; null: all are 0
  const int32_t* positions;  // [B]: a row has positions[b] + T keys, S at most; null: it has S
  const float* slopes;
  float scale, softcap, inverse_cap;  // 1 / softcap
  KeysAndValues keys;
  bool by_head;

  __device__ const float* float_q() const { return static_cast<const float*>(q.data); }
  __device__ int rows() const { return T * group; }
  __device__ int query_of_row(int row) const { return by_head ? row % T : row / group; }
  __device__ int head_of_row(int row) const { return by_head ? row / T : row % group; }
};

inline AttentionParams attention_params(const AttentionArgs& args, const KeysAndValues& keys) {
  AttentionParams p = {};
  p.T = static_cast<int>(args.T);
  p.S = static_cast<int>(args.S);
  p.H = static_cast<int>(args.H);
  p.E = static_cast<int>(args.E);
  p.group = static_cast<int>(args.H / args.K);
  p.q = args.q;
  p.first = args.first;
  p.last = args.last;
  p.slopes = args.slopes;
  p.scale = args.scale;
  p.softcap = args.softcap;
  p.inverse_cap = args.softcap > 0 ? 1 / args.softcap : 0;
  p.keys = keys;
  return p;
}

__device__ inline int number_of_keys(const AttentionParams& p, int b) {
  return p.positions == nullptr ? p.S : min(p.positions[b] + p.T, p.S);
}
/// Where a row is in an array [B, T, H].
__device__ inline size_t query_of(const AttentionParams& p, int b, int kv, int row) {
  const size_t query = static_cast<size_t>(b) * p.T + p.query_of_row(row);
  return query * p.H + static_cast<size_t>(kv) * p.group + p.head_of_row(row);
}
/// What ALiBi adds for each key of distance.
__device__ inline float slope_of(const AttentionParams& p, int kv, int row) {
  return p.slopes == nullptr ? 0 : p.slopes[kv * p.group + p.head_of_row(row)];
}

constexpr int kNoSequence = 0x7fffffff;

/// What each row of a block sees; in shared memory.
template <int kRows>
struct RowTable {
  int first[kRows], last[kRows];  // first <= last, or 0 and -1
  int start[kRows];               // of its sequence, <= first; kNoSequence where nothing is seen

  /// Fills it with rows [begin, begin + kRows); the threads of the block share the work.
  __device__ void fill(const AttentionParams& p, int b, int begin, int thread, int threads) {
    const int keys = number_of_keys(p, b);
    for (int i = thread; i < kRows; i += threads) {
      const int query = p.query_of_row(begin + i);
      int low = 0, high = -1;
      if (begin + i < p.rows()) {
        low = max(p.first[b * static_cast<size_t>(p.T) + query], 0);
        high = min(p.last[b * static_cast<size_t>(p.T) + query], keys - 1);
      }
      const bool none = high < low;
      first[i] = none ? 0 : low;
      last[i] = none ? -1 : high;
      const int known =
          none || p.starts == nullptr ? 0 : p.starts[b * static_cast<size_t>(p.T) + query];
      start[i] = none ? kNoSequence : min(known, low);
    }
  }
};

/// The keys that the rows of one sequence see, any of them.
struct SequenceKeys {
  int start = -1, first = 0, last = -1;

  __device__ int first_block() const { return (first - start) / kBlockKeys; }
  __device__ int last_block() const { return (last - start) / kBlockKeys; }
};

__device__ inline int least_of_warp(int value) {
  for (int distance = 16; distance > 0; distance /= 2)
    value = min(value, __shfl_xor_sync(kAllLanes, value, distance));
  return value;
}

/// The sequence that starts next after `sequence`; false when there is none. Every warp works it
/// out.
template <int kRows>
__device__ bool next_sequence(const RowTable<kRows>& rows, int lane, SequenceKeys& sequence) {
  int start = kNoSequence;
  for (int i = lane; i < kRows; i += kWarp)
    if (rows.start[i] > sequence.start) start = min(start, rows.start[i]);
  start = least_of_warp(start);
  if (start == kNoSequence) return false;
  int first = kNoSequence, last = 0;
  for (int i = lane; i < kRows; i += kWarp)
    if (rows.start[i] == start) {
      first = min(first, rows.first[i]);
      last = max(last, rows.last[i]);
    }
  sequence = {start, least_of_warp(first), -least_of_warp(-last)};
  return true;
}

}  // namespace llmkit::cuda
