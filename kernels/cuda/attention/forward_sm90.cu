#include "cuda/attention/forward_bf16.h"
#include "cuda/attention/group_rows.h"
#include "cuda/attention/kernels.h"
#include "cuda/base/launch.h"
#include "cuda/base/ring.h"

// Attention on chips of compute capability 9.0, by products of warpgroups. A block makes 128 query
// rows, each of two warpgroups 64 of them, against all keys that any of these sees; a third copies
// keys and values into a ring of stages of 64. The order of sums is that of forward_bf16.cu.
//
// Of a block of 64 keys and heads of 128 values, a warpgroup's two products take 512 clocks at the
// chip's full rate (64 * 64 * 128 * 2 operations each, 4096 per clock), and its softmax about as
// long: 32 powers of 2 a thread, 256 clocks, and some 250 other instructions. So that the products
// never pause, the warpgroups take turns (Turns): the products of one run during the softmax of the
// other. Within a turn the product of the next keys is queued behind that with half of the values,
// which a warpgroup adds to its sums meanwhile.
//
// A product of 64 columns reads 2 KB of shared memory in its 32 clocks, 64 bytes per clock, for q
// and the weights are in registers; copying brings 32 KB for the 1024 clocks of both warpgroups.
// Shared memory moves 128 bytes per clock. Registers of a thread, of 232: 64 sums, 32 of a part of
// the values, 32 scores, 16 weights, 32 of q.

namespace llmkit::cuda {
namespace {

constexpr int kRows = 128, kStages = 8;
constexpr int kBarrierBytes = 2 * kStages * 8 + 2 * 8;

/// What the warps know of their rows.
struct Tables {
  RowTable<kRows> rows;
  Softmax softmaxes[kRows / 16][16];
  SeenLimits limits[kRows / 16];
};

/// Shared memory: the ring, the queries, the barriers, the tables.
template <int kE>
struct Places {
  static constexpr uint32_t kStageBytes = GroupRows<kE>::bytes(kBlockKeys);
  static constexpr uint32_t kQueries = kStages * kStageBytes;
  static constexpr uint32_t kBarriers = kQueries + SharedRows<kE>::bytes(kRows);
  static constexpr uint32_t kTables = (kBarriers + kBarrierBytes + 15) / 16 * 16;
  static constexpr size_t kBytes = kTables + sizeof(Tables);
  static_assert(kBytes <= 227 * 1024, "what a chip of compute capability 9.0 has for a block");
};

#ifdef LLMKIT_WARPGROUPS

/// Rows of a warpgroup, warps that fill the ring, steps that they are ahead, and columns of a
/// product with values.
constexpr int kGroupRows = 64, kFillers = 4, kLag = 3, kPart = 64;

/// What all threads of a block know.
template <int kE>
struct Block {
  const AttentionParams& p;
  Tables& tables;
  uint32_t shared;
  int begin, kv, b;
  Ring<kStages, kFillers> ring;
  Turns turns;

  __device__ __forceinline__ explicit Block(const AttentionParams& params)
      : p(params),
        tables(*reinterpret_cast<Tables*>(dynamic_shared() + Places<kE>::kTables)),
        shared(shared_address(dynamic_shared())),
        // Under a causal mask the last rows take longest: they begin first.
        begin((gridDim.x - 1 - blockIdx.x) * kRows),
        kv(blockIdx.y),
        b(blockIdx.z),
        ring{shared + Places<kE>::kBarriers},
        turns{ring.barriers + 2 * kStages * 8} {}

  __device__ __forceinline__ uint32_t stage(int step) const {
    return shared + step % kStages * Places<kE>::kStageBytes;
  }
  /// Calls use(sequence, key) with the first block of keys of each sequence that the rows see.
  template <class Use>
  __device__ __forceinline__ void for_sequences(const Use& use) const {
    SequenceKeys sequence;
    while (next_sequence(tables.rows, threadIdx.x % kWarp, sequence))
      use(sequence, sequence.start + sequence.first_block() * kBlockKeys);
  }
};

/// Copies keys and values into the ring, a block of each in turn. What a step copied is given to
/// the products once it is there, kLag steps later.
template <int kE>
__device__ __forceinline__ void fill_stages(const Block<kE>& block) {
  const int thread = threadIdx.x - kUsers, keys = number_of_keys(block.p, block.b);
  int step = 0;
  const auto load = [&](const KeyRows& from, int key) {
    block.ring.wait_empty(step);
    load_rows_async<GroupRows<kE>, kBlockKeys>(block.stage(step), from, block.b, block.kv, key,
                                               keys, thread, kFillers * kWarp);
    commit_copies();
    if (step >= kLag) {
      wait_copies<kLag>();
      publish_shared();
      block.ring.end_fill(step - kLag);
    }
    ++step;
  };
  block.for_sequences([&](const SequenceKeys& sequence, int key) {
    for (; key <= sequence.last; key += kBlockKeys) {
      load(block.p.keys.keys, key);
      load(block.p.keys.values, key);
    }
  });
  wait_copies<0>();
  publish_shared();
  for (int i = max(step - kLag, 0); i < step; ++i) block.ring.end_fill(i);
}

/// What a warp has in registers from one block of keys to the next. A step is a stage of the ring:
/// keys are even ones, the values of the same keys follow.
template <int kE>
struct Rows {
  static constexpr int kParts = kE / kPart;
  RowSums<1, kE> sums;
  uint32_t q[kE / 16][4];
  float scores[1][kBlockKeys / 8][4];
  int lane, warp, step = 0, turn = 0;

  __device__ __forceinline__ explicit Rows(const Block<kE>& block)
      : lane(threadIdx.x % kWarp), warp(threadIdx.x / kWarp) {
    const uint32_t rows = block.shared + Places<kE>::kQueries;
#pragma unroll
    for (int i = 0; i < kE / 16; ++i)
      load_matrices(q[i], rows + SharedRows<kE>::at(16 * warp + operand_row(lane),
                                                    2 * i + operand_chunk(lane)));
  }
  __device__ __forceinline__ int group() const { return warp / (kGroupRows / 16); }

  /// Queues scores = q · the keys of a stage.
  __device__ __forceinline__ void queue_scores(uint32_t keys) {
    begin_products(q);
#pragma unroll
    for (int i = 0; i < kE / 16; ++i)
      multiply_add_group(scores[0], q[i],
                         shared_operand(keys + i / 4 * GroupRows<kE>::kPanelBytes + i % 4 * 32),
                         i > 0);
    commit_products();
  }
  /// Queues part = weights · columns [kPart * i, kPart * (i + 1)) of the values of a stage.
  __device__ __forceinline__ void queue_part(WeightTile<1, kBlockKeys / 8>& weights, int i,
                                             uint32_t values, float (&part)[kPart / 8][4]) const {
    begin_products(weights.a[0]);
#pragma unroll
    for (int k = 0; k < kBlockKeys / 16; ++k)
      multiply_add_across(part, weights.a[0][k],
                          shared_operand(values + i * GroupRows<kE>::kPanelBytes + k * 16 * 128),
                          k > 0);
    commit_products();
  }
  /// Adds a part to the sums of rows that see any of the keys.
  __device__ __forceinline__ void add_part(int i, bool works, float (&part)[kPart / 8][4],
                                           const Rescale (&factors)[2]) {
    settle_sums(part);
    if (!works) return;
#pragma unroll
    for (int n = 0; n < kPart / 8; ++n) sums.add(0, kPart / 8 * i + n, part[n], factors);
  }

  /// A block of keys from `key` on, whose scores are made, up to the scores of the next one.
  template <bool kMore>
  __device__ __forceinline__ void add_keys(const Block<kE>& block, const ScoreRule& rule,
                                           const SeenRows<kRows>& seen, int key) {
    const bool works = seen.any(key, key + kBlockKeys - 1);
    Softmax* const softmax = block.tables.softmaxes[warp];
    WeightTile<1, kBlockKeys / 8> weights;
    Rescale factors[1][2] = {};
    if (works) {
      Softmax of_block[1][2];
      softmax_of_block(scores, block.p, rule, seen, block.kv, block.begin + 16 * warp, key, lane,
                       of_block);
      add_softmax(of_block, lane, softmax, factors);
      sums.rescale(factors);
    }
    weights.set(scores);
    const uint32_t values = block.stage(step + 1);
    float part[kPart / 8][4];
    block.ring.wait(step + 1);
    block.turns.wait(group(), turn);
    queue_part(weights, 0, values, part);
    if (kMore) {
      block.ring.wait(step + 2);
      queue_scores(block.stage(step + 2));
    }
    wait_products<kMore ? 1 : 0>();
    add_part(0, works, part, factors[0]);
#pragma unroll
    for (int i = 1; i < kParts; ++i) {
      queue_part(weights, i, values, part);
      if (i + 1 == kParts) block.turns.pass(group());
      wait_products<0>();
      add_part(i, works, part, factors[0]);
    }
    if (kParts == 1) block.turns.pass(group());
    wait_products<0>();
    settle_sums(scores[0]);
    block.ring.release(step + 1);
    if (kMore) block.ring.release(step + 2);
    step += 2;
    ++turn;
  }

  /// All keys of a sequence from `key` on, where its first block that is seen begins.
  __device__ __forceinline__ void add_sequence(const Block<kE>& block, const ScoreRule& rule,
                                               const SequenceKeys& sequence, int key) {
    const SeenRows<kRows> seen(block.tables.rows, block.tables.limits[warp], 16 * warp, 16,
                               sequence.start, lane);
    block.ring.wait(step);
    queue_scores(block.stage(step));
    wait_products<0>();
    settle_sums(scores[0]);
    block.ring.release(step);
    for (; key + kBlockKeys <= sequence.last; key += kBlockKeys)
      add_keys<true>(block, rule, seen, key);
    add_keys<false>(block, rule, seen, key);
  }
};

template <int kE>
__device__ __forceinline__ void use_stages(const Block<kE>& block, const Elements& y,
                                           float* log_sum_exp) {
  Rows<kE> rows(block);
  const ScoreRule rule(block.p);
  block.for_sequences([&](const SequenceKeys& sequence, int key) {
    rows.add_sequence(block, rule, sequence, key);
  });
  rows.sums.write(block.p, block.b, block.kv, block.begin + 16 * rows.warp, 0, rows.lane,
                  block.tables.softmaxes[rows.warp], y, log_sum_exp);
}

template <int kE>
__device__ __forceinline__ void attend_block(const AttentionParams& p, const Elements& y,
                                             float* log_sum_exp) {
  const Block<kE> block(p);
  const int thread = threadIdx.x;
  block.tables.rows.fill(p, block.b, block.begin, thread, kGroupThreads);
  if (thread < kRows) block.tables.softmaxes[thread / 16][thread % 16] = empty_softmax();
  load_queries<kE, kRows>(dynamic_shared() + Places<kE>::kQueries, p, block.b, block.kv,
                          block.begin, thread, kGroupThreads);
  block.ring.init();
  block.turns.init();
  __syncthreads();
  fill_and_use<kFillers>([&] { fill_stages(block); }, [&] { use_stages(block, y, log_sum_exp); });
}

#endif

template <int kE>
__global__ void __launch_bounds__(kGroupThreads, 1)
    attend_groups(const __grid_constant__ AttentionParams p, const __grid_constant__ Elements y,
                  float* log_sum_exp) {
#ifdef LLMKIT_WARPGROUPS
  attend_block<kE>(p, y, log_sum_exp);
#endif
}

template <int kE>
cudaError_t launch_attend(const AttentionParams& p, size_t B, size_t K, const Elements& y,
                          float* log_sum_exp, cudaStream_t stream) {
  const dim3 grid(blocks_of(static_cast<size_t>(p.T) * p.group, kRows), static_cast<unsigned>(K),
                  static_cast<unsigned>(B));
  return launch(attend_groups<kE>, {grid, kGroupThreads, Places<kE>::kBytes, stream}, p, y,
                log_sum_exp);
}

}  // namespace

bool prefers_groups(const AttentionParams& p) {
  return static_cast<size_t>(p.T) * p.group >= kRows;
}

cudaError_t attend_by_groups(const AttentionParams& p, size_t B, size_t K, const Elements& y,
                             float* log_sum_exp, cudaStream_t stream) {
  if (p.E == 64) return launch_attend<64>(p, B, K, y, log_sum_exp, stream);
  return launch_attend<128>(p, B, K, y, log_sum_exp, stream);
}

}  // namespace llmkit::cuda
