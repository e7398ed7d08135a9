#include "cuda/attention/grad_kernels.h"
#include "cuda/attention/group_rows.h"
#include "cuda/base/launch.h"
#include "cuda/base/ring.h"

// The gradient of attention on chips of compute capability 9.0, by products of warpgroups. A block
// has 128 rows of its own, keys or queries, each of two warpgroups 64 of them, and goes through
// tiles of 64 of the others, which a third copies into a ring. The order of sums is that of
// backward_bf16.cu.
//
// Of a tile and heads of 128 values a product of 64 own rows takes 256 clocks at the chip's full
// rate (64 * 64 * 128 * 2 operations, 4096 per clock): four for the gradients to keys and values,
// three for that to queries. What is between them, about 20 instructions for each of 32 scores a
// thread, takes some 700; the products of the other warpgroup run meanwhile, of which there is more
// than that.
//
// The first two products read both operands from shared memory, all of the 128 bytes per clock that
// it moves; the others 64, for the weights are in registers. Registers of a thread, of 232: the
// sums of keys and values take 128, products 64. That is why the own rows are in shared memory.

namespace llmkit::cuda {
namespace {

constexpr int kOwnRows = 128, kTile = 64, kStages = 4;

/// What belongs to a tile besides its rows: the first of them, or -1 after the last tile; and of
/// query rows what they see.
struct TileNotes {
  int begin;
  GradTable<kTile> table;
};

/// Shared memory: two tiles of own rows, the ring of two tiles of others, barriers, tables.
template <int kE>
struct GradPlaces {
  static constexpr uint32_t kTileBytes = GroupRows<kE>::bytes(kTile);
  static constexpr uint32_t kOwnBytes = 2 * kOwnRows / kTile * kTileBytes;
  static constexpr uint32_t kBarriers = kOwnBytes + kStages * 2 * kTileBytes;
  static constexpr uint32_t kNotes = kBarriers + 2 * kStages * 8;
  static constexpr uint32_t kTable = (kNotes + kStages * sizeof(TileNotes) + 15) / 16 * 16;
  static constexpr size_t kBytes = kTable + sizeof(GradTable<kOwnRows>);
  static_assert(kNotes % 16 == 0 && sizeof(TileNotes) % 16 == 0, "rows of a table are aligned");
  static_assert(kBytes <= 227 * 1024, "what a chip of compute capability 9.0 has for a block");
};

#ifdef LLMKIT_WARPGROUPS

/// Rows of a warpgroup, warps that fill the ring, and columns of a product with weights.
constexpr int kGroupRows = 64, kFillers = 4, kPart = 64;

/// Sums of 64 rows of kE columns.
template <int kE>
using GroupSums = float[kE / kPart][kPart / 8][4];

template <int kE>
__device__ __forceinline__ void set_zero(GroupSums<kE>& sums) {
#pragma unroll
  for (int i = 0; i < kE / 2; ++i) sums[i / (kPart / 2)][i / 4 % (kPart / 8)][i % 4] = 0;
}

/// What all threads of a block know.
template <int kE>
struct GradBlock {
  using Places = GradPlaces<kE>;
  const RoundedGrad& r;
  int begin, kv, b;
  char* memory;
  uint32_t shared;
  Ring<kStages, kFillers> ring;

  __device__ __forceinline__ GradBlock(const RoundedGrad& grad, int own_begin)
      : r(grad),
        begin(own_begin),
        kv(blockIdx.y),
        b(blockIdx.z),
        memory(dynamic_shared()),
        shared(shared_address(memory)),
        ring{shared + Places::kBarriers} {}

  /// Own rows of a warpgroup, or one of the tiles of a step; i is 0 for those of q or keys, 1 for
  /// those of dy or values.
  __device__ __forceinline__ uint32_t own(int i, int group) const {
    return shared + (2 * i + group) * Places::kTileBytes;
  }
  __device__ __forceinline__ uint32_t other(int step, int i) const {
    return shared + Places::kOwnBytes + (step % kStages * 2 + i) * Places::kTileBytes;
  }
  __device__ __forceinline__ TileNotes& notes(int step) const {
    return reinterpret_cast<TileNotes*>(memory + Places::kNotes)[step % kStages];
  }
  __device__ __forceinline__ GradTable<kOwnRows>& table() const {
    return *reinterpret_cast<GradTable<kOwnRows>*>(memory + Places::kTable);
  }
  /// Asks for 64 of `count` rows.
  __device__ __forceinline__ void load(uint32_t to, const KeyRows& rows, int from, int count,
                                       int thread, int threads) const {
    load_even_rows<GroupRows<kE>, kTile>(to, rows.at_evenly(b, kv, min(from, count - 1)),
                                         static_cast<int>(rows.row_bytes), rows.width, count - from,
                                         thread, threads);
  }
  /// All threads load the own rows and make the ring ready.
  __device__ __forceinline__ void start(const KeyRows& first, const KeyRows& second,
                                        int count) const {
    for (int group = 0; group < kOwnRows / kGroupRows; ++group) {
      load(own(0, group), first, begin + group * kGroupRows, count, threadIdx.x, kGroupThreads);
      load(own(1, group), second, begin + group * kGroupRows, count, threadIdx.x, kGroupThreads);
    }
    commit_copies();
    ring.init();
    wait_copies<0>();
    publish_shared();
    __syncthreads();
  }

  /// Fills the ring with tiles next(0), next(that + kTile) .. of `count` rows until it is negative;
  /// note(notes, begin) writes what belongs to one besides. A tile is given to the products when
  /// the next one is under way.
  template <class Next, class Note>
  __device__ __forceinline__ void fill(const KeyRows& first, const KeyRows& second, int count,
                                       const Next& next, const Note& note) const {
    const int thread = threadIdx.x - kUsers;
    int step = 0;
    for (int at = next(0); at >= 0; at = next(at + kTile), ++step) {
      ring.wait_empty(step);
      load(other(step, 0), first, at, count, thread, kFillers * kWarp);
      load(other(step, 1), second, at, count, thread, kFillers * kWarp);
      commit_copies();
      if (thread == 0) notes(step).begin = at;
      note(notes(step), at);
      if (step > 0) end_fill<1>(step - 1);
    }
    if (step > 0) end_fill<0>(step - 1);
    ring.wait_empty(step);
    if (thread == 0) notes(step).begin = -1;
    ring.end_fill(step);
  }
  template <int kPending>
  __device__ __forceinline__ void end_fill(int step) const {
    wait_copies<kPending>();
    publish_shared();
    ring.end_fill(step);
  }

  /// Calls use(step, begin) for every tile in the ring.
  template <class Use>
  __device__ __forceinline__ void for_tiles(const Use& use) const {
    for (int step = 0;; ++step) {
      ring.wait(step);
      const int at = notes(step).begin;
      if (at < 0) return;
      use(step, at);
      ring.release(step);
    }
  }
};

/// The place of a thread of the warpgroups that multiply.
struct GroupThread {
  int lane, group, row;  // the first of the warp's own rows

  __device__ __forceinline__ GroupThread()
      : lane(threadIdx.x % kWarp),
        group(threadIdx.x / (kGroupRows / 16 * kWarp)),
        row(threadIdx.x / kWarp * 16) {}
};

/// s and dweight = both products of the warpgroup's own rows with the tiles of a step.
template <int kE>
__device__ __forceinline__ void multiply_tiles(const GradBlock<kE>& block, int group, int step,
                                               float (&s)[kTile / 8][4],
                                               float (&dweight)[kTile / 8][4]) {
  begin_products();
#pragma unroll
  for (int i = 0; i < kE / 16; ++i) {
    const uint32_t at = i / 4 * GroupRows<kE>::kPanelBytes + i % 4 * 32;
    multiply_add_group(s, shared_operand(block.own(0, group) + at),
                       shared_operand(block.other(step, 0) + at), i > 0);
  }
#pragma unroll
  for (int i = 0; i < kE / 16; ++i) {
    const uint32_t at = i / 4 * GroupRows<kE>::kPanelBytes + i % 4 * 32;
    multiply_add_group(dweight, shared_operand(block.own(1, group) + at),
                       shared_operand(block.other(step, 1) + at), i > 0);
  }
  commit_products();
  wait_products<0>();
  settle_sums(s);
  settle_sums(dweight);
}

/// Queues sums += weights · the rows of a tile.
template <int kE>
__device__ __forceinline__ void queue_rows(WeightTile<1, kTile / 8>& weights, uint32_t rows,
                                           GroupSums<kE>& sums) {
  begin_products(weights.a[0]);
#pragma unroll
  for (int part = 0; part < kE / kPart; ++part)
#pragma unroll
    for (int k = 0; k < kTile / 16; ++k)
      multiply_add_across(sums[part], weights.a[0][k],
                          shared_operand(rows + part * GroupRows<kE>::kPanelBytes + k * 16 * 128),
                          true);
  commit_products();
}

template <int kE>
__device__ __forceinline__ void settle(GroupSums<kE>& sums) {
#pragma unroll
  for (int part = 0; part < kE / kPart; ++part) settle_sums(sums[part]);
}

/// Writes a thread's part of row `half` of the two that it has.
template <int kE>
__device__ __forceinline__ void write_row(float* to, const GroupSums<kE>& sums, int lane, int half,
                                          float factor) {
#pragma unroll
  for (int i = 0; i < kE / 4; ++i) {
    const int n = i / 2;
    to[8 * n + tile_column(lane) + i % 2] =
        sums[n / (kPart / 8)][n % (kPart / 8)][2 * half + i % 2] * factor;
  }
}

/// Whether a row sees any of the keys [low, high].
__device__ __forceinline__ bool sees(const GradRow& row, int low, int high) {
  return row.first <= row.last && row.first <= high && row.last >= low;
}

/// dq of a block of query rows.
template <int kE>
__device__ __forceinline__ void use_keys(const GradBlock<kE>& block) {
  const AttentionParams& p = block.r.g.p;
  const GroupThread at;
  GroupSums<kE> dq;
  set_zero<kE>(dq);
  block.for_tiles([&](int step, int key) {
    float s[kTile / 8][4], dweight[1][kTile / 8][4];
    multiply_tiles(block, at.group, step, s, dweight[0]);
    weigh_tile<false>(block.table(), p, at.row, key, at.lane, s, dweight[0]);
    WeightTile<1, kTile / 8> weights;
    weights.set(dweight);
    queue_rows<kE>(weights, block.other(step, 0), dq);
    wait_products<0>();
    settle<kE>(dq);
  });
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = block.begin + at.row + 8 * half + tile_row(at.lane);
    if (row >= p.rows()) continue;
    float* const to = block.r.g.dq + query_of(p, block.b, block.kv, row) * kE;
    write_row<kE>(to, dq, at.lane, half, p.scale);
  }
}

template <int kE>
__device__ __forceinline__ void grad_queries(const RoundedGrad& r) {
  // Under a causal mask the last rows take longest: they begin first.
  const GradBlock<kE> block(r, static_cast<int>(gridDim.x - 1 - blockIdx.x) * kOwnRows);
  const AttentionParams& p = r.g.p;
  block.table().fill(r.g, block.b, block.kv, block.begin, 0, p.S, threadIdx.x, kGroupThreads);
  block.start(r.q, r.dy, p.rows());
  const auto next = [&](int key) {
    for (; key < p.S; key += kTile) {
      bool works = false;
      for (int i = threadIdx.x % kWarp; i < kOwnRows; i += kWarp)
        works |= sees(block.table().rows[i], key, key + kTile - 1);
      if (__any_sync(kAllLanes, works)) return key;
    }
    return -1;
  };
  fill_and_use<kFillers>(
      [&] { block.fill(p.keys.keys, p.keys.values, p.S, next, [](TileNotes&, int) {}); },
      [&] { use_keys(block); });
}

/// dk and dv of a block of keys. Products are made transposed, a key a row, so that the weights are
/// left operands as they come.
template <int kE>
__device__ __forceinline__ void use_queries(const GradBlock<kE>& block, int K) {
  const GradParams& g = block.r.g;
  const GroupThread at;
  GroupSums<kE> dk, dv;
  set_zero<kE>(dk);
  set_zero<kE>(dv);
  block.for_tiles([&](int step, int) {
    float s[1][kTile / 8][4], dweight[1][kTile / 8][4];
    multiply_tiles(block, at.group, step, s[0], dweight[0]);
    weigh_tile<true>(block.notes(step).table, g.p, 0, block.begin + at.row, at.lane, s[0],
                     dweight[0]);
    WeightTile<1, kTile / 8> weights, dweights;
    weights.set(s);
    dweights.set(dweight);
    queue_rows<kE>(weights, block.other(step, 1), dv);
    queue_rows<kE>(dweights, block.other(step, 0), dk);
    wait_products<0>();
    settle<kE>(dv);
    settle<kE>(dk);
  });
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int key = block.begin + at.row + 8 * half + tile_row(at.lane);
    if (key >= g.p.S) continue;
    const size_t to = ((static_cast<size_t>(block.b) * g.p.S + key) * K + block.kv) * kE;
    write_row<kE>(g.dk + to, dk, at.lane, half, g.p.scale);
    write_row<kE>(g.dv + to, dv, at.lane, half, 1);
  }
}

/// The first tile from `row` on, of which any row sees one of the keys [low, high], or -1. A warp
/// looks at four tiles at a time, eight rows a lane: most of them are far from a window, or before
/// what a causal mask lets see the keys.
__device__ __forceinline__ int next_tile(const GradRow* rows, int count, int row, int low,
                                         int high) {
  constexpr int kTiles = 4, kLanes = kWarp / kTiles;
  const int lane = threadIdx.x % kWarp;
  for (; row < count; row += kTiles * kTile) {
    bool works = false;
#pragma unroll
    for (int i = 0; i < kTile / kLanes; ++i) {
      const int at = row + lane / kLanes * kTile + lane % kLanes + i * kLanes;
      if (at < count) works |= sees(rows[at], low, high);
    }
    const unsigned found = __ballot_sync(kAllLanes, works);
    if (found != 0) return row + (__ffs(static_cast<int>(found)) - 1) / kLanes * kTile;
  }
  return -1;
}

template <int kE>
__device__ __forceinline__ void grad_keys(const RoundedGrad& r, int K) {
  const GradBlock<kE> block(r, static_cast<int>(blockIdx.x) * kOwnRows);
  const AttentionParams& p = r.g.p;
  block.start(p.keys.keys, p.keys.values, p.S);
  const GradRow* const rows =
      r.g.rows + (static_cast<size_t>(block.b) * K + block.kv) * static_cast<size_t>(p.rows());
  const auto next = [&](int row) {
    return next_tile(rows, p.rows(), row, block.begin, block.begin + kOwnRows - 1);
  };
  const auto note = [&](TileNotes& notes, int row) {
    notes.table.fill(r.g, block.b, block.kv, row, 0, p.S, threadIdx.x - kUsers, kFillers * kWarp);
  };
  fill_and_use<kFillers>([&] { block.fill(r.q, r.dy, p.rows(), next, note); },
                         [&] { use_queries(block, K); });
}

#endif

template <int kE>
__global__ void __launch_bounds__(kGroupThreads, 1)
    grad_queries_kernel(const __grid_constant__ RoundedGrad r) {
#ifdef LLMKIT_WARPGROUPS
  grad_queries<kE>(r);
#endif
}

template <int kE>
__global__ void __launch_bounds__(kGroupThreads, 1)
    grad_keys_kernel(const __grid_constant__ RoundedGrad r, int K) {
#ifdef LLMKIT_WARPGROUPS
  grad_keys<kE>(r, K);
#endif
}

template <int kE>
Launch launch_of(size_t count, size_t B, size_t K, cudaStream_t stream) {
  const dim3 grid(blocks_of(count, kOwnRows), static_cast<unsigned>(K), static_cast<unsigned>(B));
  return {grid, dim3(kGroupThreads), GradPlaces<kE>::kBytes, stream};
}

}  // namespace

cudaError_t grad_keys_by_groups(const RoundedGrad& grad, size_t B, size_t K, cudaStream_t stream) {
  const auto S = static_cast<size_t>(grad.g.p.S);
  const int heads = static_cast<int>(K);
  if (grad.g.p.E == 64)
    return launch(grad_keys_kernel<64>, launch_of<64>(S, B, K, stream), grad, heads);
  return launch(grad_keys_kernel<128>, launch_of<128>(S, B, K, stream), grad, heads);
}

cudaError_t grad_queries_by_groups(const RoundedGrad& grad, size_t B, size_t K,
                                   cudaStream_t stream) {
  const size_t rows = static_cast<size_t>(grad.g.p.T) * grad.g.p.group;
  if (grad.g.p.E == 64)
    return launch(grad_queries_kernel<64>, launch_of<64>(rows, B, K, stream), grad);
  return launch(grad_queries_kernel<128>, launch_of<128>(rows, B, K, stream), grad);
}

}  // namespace llmkit::cuda
