#include <algorithm>

#include "base/parallel.h"
#include "base/scratch.h"
#include "cpu/attention/kv_cache.h"
#include "cpu/attention/paged_heads.h"
#include "cpu/rope/rope.h"

namespace llmkit {
namespace {

/// Queries a sequence up to which keys are read as they are stored, and cut into blocks for all
/// threads to have some: tiles of queries would be nearly empty.
constexpr size_t kDecodeQueries = 4;

/// Turns positions [begin, end).
void turn_floats(const RopeArgs& p, size_t begin, size_t end) {
  const size_t size = p.heads * p.head_size;
  for (size_t position = begin; position < end; ++position)
    rope_kernels().run(p, position, p.x.floats() + position * size, p.y.floats() + position * size);
}

/// Turns q and k of positions [begin, end) of all rows, and writes k and v into the cache.
/// turned: [B·T, H + K, E]; the queries come first. Null without rotary positions.
void append(const AttentionArgs& p, const CacheStep& step, const KvCache& cache, float* turned,
            size_t begin, size_t end) {
  const float* keys = p.k.floats();
  if (turned != nullptr) {
    float* const turned_keys = turned + p.B * p.T * p.H * p.E;
    const RopeArgs q = {p.B * p.T, p.H, p.E, step.half, p.q, step.cos, step.sin, turned, false};
    const RopeArgs k = {p.B * p.T, p.K,      p.E,         step.half, p.k,
                        step.cos,  step.sin, turned_keys, false};
    turn_floats(q, begin, end);
    turn_floats(k, begin, end);
    keys = turned_keys;
  }
  const AttentionKernels& kernels = attention_kernels();
  for (size_t position = begin; position < end; ++position) {
    const size_t row = position / p.T, t = position % p.T;
    const size_t key = static_cast<size_t>(step.positions[row]) + t;
    for (size_t head = 0; head < p.K; ++head) {
      const size_t at = (position * p.K + head) * p.E;
      kernels.write(cache.layout(), keys + at, p.v.floats() + at, key % kPageKeys,
                    cache.place(row, head, key));
    }
  }
}

/// Blocks of keys that a query sees at most; at least one.
size_t most_blocks(const AttentionArgs& p) {
  int32_t longest = 1;
  for (size_t i = 0; i < p.B * p.T; ++i) longest = std::max(longest, p.last[i] - p.first[i] + 1);
  return (static_cast<size_t>(longest) + kKeyBlock - 1) / kKeyBlock;
}

/// The first keys of a task in the cache; null when it has none.
const uint8_t* keys_of(const AttentionArgs& p, const KvCache& cache, const DecodeTask& task) {
  const size_t position = task.b * p.T + task.t;
  const int32_t first = p.first[position] + static_cast<int32_t>(task.block * kKeyBlock);
  if (first > p.last[position]) return nullptr;
  const size_t key = static_cast<size_t>(first);
  return cache.place(task.b, task.kv, key) + key % kPageKeys * p.E * cache.layout().code_bytes();
}

void decode(const AttentionArgs& p, const KvCache& cache, float* y) {
  const AttentionKernels& kernels = attention_kernels();
  const size_t group = p.H / p.K, queries = p.B * p.T * p.K, blocks = most_blocks(p);
  const size_t part = kernels.part_size(group, p.E), work = kKeyBlock * (group + 4) * p.E;
  float* const parts = scratch(Scratch::kPages, queries * blocks * part);
  const auto task_of = [&](size_t query, size_t block) {
    return DecodeTask{query / p.K / p.T, query / p.K % p.T, query % p.K, block, nullptr};
  };
  parallel_for(queries * blocks, grain_for(work), [&](size_t begin, size_t end) {
    float* const memory = scratch(Scratch::kScores, kernels.decode_scratch(group, p.E));
    for (size_t i = begin; i < end; ++i) {
      DecodeTask task = task_of(i / blocks, i % blocks);
      const size_t next = i + 1;
      if (next < queries * blocks)
        task.next = keys_of(p, cache, task_of(next / blocks, next % blocks));
      kernels.decode_block(p, cache.head(task.b, task.kv), task, parts + i * part, memory);
    }
  });
  parallel_for(queries, grain_for(2 * blocks * part), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i)
      kernels.decode_finish(p, task_of(i, 0), parts + i * blocks * part, y);
  });
}

/// Keys of the row that has most.
size_t most_keys(const KvCache& cache) {
  size_t pages = 0;
  for (size_t row = 0; row < cache.rows(); ++row) pages = std::max(pages, cache.row_pages(row));
  return pages * kPageKeys;
}

}  // namespace

bool cached_attention(const AttentionArgs& args, const CacheStep& step, KvCache& cache, float* y) {
  if (!cache.reserve(step.positions, args.T)) return false;
  AttentionArgs p = args;
  float* const turned =
      step.cos == nullptr ? nullptr : scratch(Scratch::kTurned, p.B * p.T * (p.H + p.K) * p.E);
  parallel_for(p.B * p.T, grain_for(4 * (p.H + 2 * p.K) * p.E),
               [&](size_t begin, size_t end) { append(args, step, cache, turned, begin, end); });
  if (turned != nullptr) p.q = turned;
  if (p.T <= kDecodeQueries) {
    decode(p, cache, y);
    return true;
  }
  const size_t heads = p.B * p.K, at_once = PagedHeads::at_once(p, most_keys(cache));
  for (size_t first = 0; first < heads; first += at_once)
    attend(p, PagedHeads(p, cache, first, std::min(first + at_once, heads)), y, nullptr);
  return true;
}

}  // namespace llmkit
