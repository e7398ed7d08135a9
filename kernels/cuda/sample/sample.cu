#include "cuda/base/launch.h"
#include "cuda/sample/exp_of_negative.h"
#include "cuda/sample/sample.h"
#include "cuda/sample/select.h"

namespace llmkit::cuda {
namespace {

constexpr double kInfinity = __builtin_huge_val();
constexpr unsigned kThreads = 256;
/// Logits of a block of the kernels that many blocks of a row run.
constexpr size_t kChunk = 2048;
/// Weights are added up in blocks of this many, each with eight lanes: the CPU's order.
constexpr size_t kSumBlock = 256;
constexpr unsigned kSumLanes = 8;

size_t divide_up(size_t a, size_t b) { return (a + b - 1) / b; }

/// The largest score of a chunk, and the first id that has it.
struct Best {
  double score;
  int32_t id;
};

/// The parts of the workspace; only greedy choice does without the last three.
struct Workspace {
  size_t chunks, blocks;
  Best* best;       // [rows, chunks]
  double* weights;  // [rows, blocks, kSumBlock], 0 after the last candidate
  double* sums;     // [rows, blocks]
  int32_t* ids;     // [rows, vocab]: of the candidates, where there is a top-k

  Workspace(const SampleArgs& p, void* memory)
      : chunks(divide_up(p.vocab, kChunk)), blocks(divide_up(p.vocab, kSumBlock)) {
    best = static_cast<Best*>(memory);
    weights = reinterpret_cast<double*>(best + p.rows * chunks);
    sums = weights + p.rows * blocks * kSumBlock;
    ids = reinterpret_cast<int32_t*>(sums + p.rows * blocks);
  }
};

bool cuts_top_k(const SampleArgs& p) { return p.top_k > 0 && p.top_k < p.vocab; }

/// With the settings that lie on the device, where there are such.
__device__ SampleArgs settled(SampleArgs p) {
  if (p.settings == nullptr) return p;
  p.penalty = p.settings->penalty;
  p.temperature = p.settings->temperature;
  p.top_k = static_cast<size_t>(p.settings->top_k);
  p.top_p = p.settings->top_p;
  return p;
}

/// The scores of one row: logits under the penalty, minus infinity for NaN.
struct Scores {
  const float* logits;
  const uint8_t* seen;
  double penalty;

  __device__ Scores(const SampleArgs& p, size_t row)
      : logits(p.logits + row * p.vocab),
        seen(p.seen == nullptr || p.penalty == 1 ? nullptr : p.seen + row * p.vocab),
        penalty(p.penalty) {}

  __device__ double at(size_t i) const {
    const float logit = logits[i];
    const double score = logit == logit ? static_cast<double>(logit) : -kInfinity;
    if (seen == nullptr || seen[i] == 0) return score;
    return score > 0 ? score / penalty : score * penalty;
  }
};

__device__ Best better(const Best& a, const Best& b) {
  return b.score > a.score || (b.score == a.score && b.id < a.id) ? b : a;
}

/// Of all threads of a block of at most 1024; every thread gets it.
__device__ Best best_of_block(Best best) {
  __shared__ double scores[kWarp];
  __shared__ int32_t ids[kWarp];
  for (int apart = kWarp / 2; apart > 0; apart /= 2)
    best = better(best, {__shfl_xor_sync(kAllLanes, best.score, apart),
                         __shfl_xor_sync(kAllLanes, best.id, apart)});
  const unsigned warp = threadIdx.x / kWarp;
  if (threadIdx.x % kWarp == 0) {
    scores[warp] = best.score;
    ids[warp] = best.id;
  }
  __syncthreads();
  for (unsigned i = 0; i < blockDim.x / kWarp; ++i) best = better(best, {scores[i], ids[i]});
  __syncthreads();
  return best;
}

__global__ void __launch_bounds__(kThreads) best_kernel(SampleArgs args, Workspace work) {
  const SampleArgs p = settled(args);
  const size_t row = blockIdx.y, begin = blockIdx.x * kChunk;
  const size_t end = begin + kChunk < p.vocab ? begin + kChunk : p.vocab;
  const Scores scores(p, row);
  Best best = {-kInfinity, INT32_MAX};
  for (size_t i = begin + threadIdx.x; i < end; i += kThreads)
    best = better(best, {scores.at(i), static_cast<int32_t>(i)});
  best = best_of_block(best);
  if (threadIdx.x == 0) work.best[row * work.chunks + blockIdx.x] = best;
}

__device__ Best best_of_row(const Workspace& work, size_t row) {
  Best best = {-kInfinity, INT32_MAX};
  for (size_t i = threadIdx.x; i < work.chunks; i += blockDim.x)
    best = better(best, work.best[row * work.chunks + i]);
  return best_of_block(best);
}

__device__ bool is_finite(double value) { return fabs(value) < kInfinity; }

__global__ void __launch_bounds__(kThreads) choose_best_kernel(SampleArgs p, Workspace work) {
  const Best best = best_of_row(work, blockIdx.x);
  if (threadIdx.x == 0) p.chosen[blockIdx.x] = is_finite(best.score) ? best.id : -1;
}

/// Sums of eight lanes, in all of them: the lanes are added in order.
__device__ double add_lanes(double lane_sum) {
  const unsigned first = threadIdx.x % kWarp / kSumLanes * kSumLanes;
  double total = 0;
  for (unsigned lane = 0; lane < kSumLanes; ++lane)
    total += __shfl_sync(kAllLanes, lane_sum, static_cast<int>(first + lane));
  return total;
}

/// The weights of all of the vocabulary, and the sums of their blocks.
__global__ void __launch_bounds__(kThreads) weigh_kernel(SampleArgs args, Workspace work) {
  const SampleArgs p = settled(args);
  const size_t row = blockIdx.y;
  const double most = best_of_row(work, row).score;
  if (!is_finite(most)) return;
  const Scores scores(p, row);
  constexpr size_t kBlocks = kThreads / kSumLanes;
  const size_t block = blockIdx.x * kBlocks + threadIdx.x / kSumLanes;
  double sum = 0;
  for (size_t j = threadIdx.x % kSumLanes; j < kSumBlock && block < work.blocks; j += kSumLanes) {
    const size_t i = block * kSumBlock + j;
    const double weight =
        i < p.vocab ? exp_of_negative((scores.at(i) - most) / p.temperature) : 0.0;
    work.weights[row * work.blocks * kSumBlock + i] = weight;
    sum += weight;
  }
  sum = add_lanes(sum);
  if (threadIdx.x % kSumLanes == 0 && block < work.blocks)
    work.sums[row * work.blocks + block] = sum;
}

/// The candidates of one row, ids ascending.
struct Candidates {
  size_t count;
  double* weights;
  double* sums;
  int32_t* ids;  // null: all of the vocabulary

  __device__ size_t blocks() const { return (count + kSumBlock - 1) / kSumBlock; }
  __device__ int32_t id(size_t i) const {
    return ids == nullptr ? static_cast<int32_t>(i) : ids[i];
  }
};

/// Of the threads of a block that have it, how many come before this one, after `before` others;
/// and `before` then counts them all. All threads call it.
__device__ size_t place_among(bool has, size_t& before) {
  __shared__ unsigned counts[kWarp];
  const unsigned lanes = __ballot_sync(kAllLanes, has);
  const unsigned warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  if (lane == 0) counts[warp] = static_cast<unsigned>(__popc(lanes));
  __syncthreads();
  size_t place = before + static_cast<unsigned>(__popc(lanes & ((1u << lane) - 1)));
  for (unsigned i = 0; i < blockDim.x / kWarp; ++i) {
    if (i < warp) place += counts[i];
    before += counts[i];
  }
  __syncthreads();
  return place;
}

struct ScoreKeys {
  Scores scores;
  size_t count;
  __device__ uint64_t at(size_t i) const { return key_of(scores.at(i)); }
};

struct CountGoal {
  size_t wanted;
  __device__ bool reached(const Tally& tally) const { return tally.count >= wanted; }
};

/// Makes candidates of the k highest scores and those equal to the k-th.
__device__ Candidates keep_top_k(const SampleArgs& p, SelectShared& shared, size_t row, double most,
                                 Candidates all) {
  const Scores scores(p, row);
  const Cut cut = select<false>(shared, ScoreKeys{scores, p.vocab}, CountGoal{p.top_k},
                                key_of(most - 32), key_of(most));
  // Out of reach where fewer are finite: nothing is cut.
  const double lowest = cut.equal > 0 ? from_key(cut.key) : -kInfinity;
  size_t count = 0;
  for (size_t tile = 0; tile < p.vocab; tile += blockDim.x) {
    const size_t i = tile + threadIdx.x;
    const double score = i < p.vocab ? scores.at(i) : 0.0;
    const bool stays = i < p.vocab && score >= lowest;
    const size_t place = place_among(stays, count);
    if (!stays) continue;
    all.ids[place] = static_cast<int32_t>(i);
    all.weights[place] = exp_of_negative((score - most) / p.temperature);
  }
  all.count = count;
  for (size_t i = count + threadIdx.x; i < all.blocks() * kSumBlock; i += blockDim.x)
    all.weights[i] = 0;
  __syncthreads();
  return all;
}

/// All threads call it; they may read the sums afterwards.
__device__ void add_up_blocks(const Candidates& c) {
  const size_t stride = blockDim.x / kSumLanes;
  for (size_t tile = 0; tile < c.blocks(); tile += stride) {
    const size_t block = tile + threadIdx.x / kSumLanes;
    double sum = 0;
    for (size_t j = threadIdx.x % kSumLanes; j < kSumBlock && block < c.blocks(); j += kSumLanes)
      sum += c.weights[block * kSumBlock + j];
    sum = add_lanes(sum);
    if (threadIdx.x % kSumLanes == 0 && block < c.blocks()) c.sums[block] = sum;
  }
  __syncthreads();
}

/// sums[b] becomes the sum of blocks 0 to b, added in order; returns the last. The tile is shared
/// memory for kSelectThreads numbers.
__device__ double accumulate_sums(const Candidates& c, double* tile) {
  __shared__ double total;
  if (threadIdx.x == 0) total = 0;
  for (size_t begin = 0; begin < c.blocks(); begin += kSelectThreads) {
    const size_t rest = c.blocks() - begin, n = rest < kSelectThreads ? rest : kSelectThreads;
    if (threadIdx.x < n) tile[threadIdx.x] = c.sums[begin + threadIdx.x];
    __syncthreads();
    if (threadIdx.x == 0)
      for (size_t i = 0; i < n; ++i) tile[i] = total += tile[i];
    __syncthreads();
    if (threadIdx.x < n) c.sums[begin + threadIdx.x] = tile[threadIdx.x];
  }
  __syncthreads();
  return total;
}

struct WeightKeys {
  const double* weights;
  size_t count;
  __device__ uint64_t at(size_t i) const { return bits_of(weights[i]); }
};

struct SumGoal {
  double target;
  __device__ bool reached(double sum) const { return sum > 0 && sum >= target; }
  __device__ bool reached(const Tally& tally) const { return reached(tally.sum()); }
};

/// Of the weights equal to the cut's, how many come before the goal is reached.
__device__ size_t kept_of_equals(const Cut& cut, const SumGoal& goal) {
  const double above = cut.above.sum(), weight = from_bits(cut.key);
  const double guess = ceil((goal.target - above) / weight);
  size_t kept = guess > 1 ? static_cast<size_t>(guess) : 1;
  if (kept > cut.equal) kept = cut.equal;
  while (kept < cut.equal && !goal.reached(above + static_cast<double>(kept) * weight)) ++kept;
  while (kept > 1 && goal.reached(above + static_cast<double>(kept - 1) * weight)) --kept;
  return kept;
}

/// Clears the weights after the one that reaches the target; of equals the first ids stay.
__device__ void keep_top_p(SelectShared& shared, const Candidates& c, double target) {
  const SumGoal goal = {target};
  const Cut cut =
      select<true>(shared, WeightKeys{c.weights, c.count}, goal, bits_of(0x1p-32), bits_of(1));
  if (cut.equal == 0) return;
  const size_t kept = kept_of_equals(cut, goal);
  size_t count = 0;
  for (size_t tile = 0; tile < c.count; tile += blockDim.x) {
    const size_t i = tile + threadIdx.x;
    const uint64_t key = i < c.count ? bits_of(c.weights[i]) : 0;
    const size_t place = place_among(i < c.count && key == cut.key, count);
    if (i < c.count && (key < cut.key || (key == cut.key && place >= kept))) c.weights[i] = 0;
  }
  __syncthreads();
}

/// The place of the first weight of a block at which the sum passes the target; else -1. Thread 0.
__device__ int64_t draw_in_block(const Candidates& c, size_t block, double target,
                                 const double* weights) {
  double before = block == 0 ? 0 : c.sums[block - 1];
  const size_t begin = block * kSumBlock;
  for (size_t i = begin; i < begin + kSumBlock && i < c.count; ++i) {
    before += weights[i - begin];
    if (weights[i - begin] > 0 && before > target) return static_cast<int64_t>(i);
  }
  return -1;
}

/// The first id whose cumulative weight is above the target. The sums are accumulated.
__device__ int32_t draw(const Candidates& c, double target) {
  __shared__ unsigned long long block;
  __shared__ int64_t found;
  __shared__ int last;
  __shared__ double weights[kSumBlock];
  const size_t blocks = c.blocks();
  if (threadIdx.x == 0) block = blocks - 1;
  __syncthreads();
  for (size_t i = threadIdx.x; i < blocks; i += blockDim.x)
    if (c.sums[i] > target && (i == 0 || c.sums[i - 1] <= target)) block = i;
  __syncthreads();
  if (threadIdx.x < kSumBlock) weights[threadIdx.x] = c.weights[block * kSumBlock + threadIdx.x];
  __syncthreads();
  if (threadIdx.x == 0) {
    found = draw_in_block(c, block, target, weights);
    last = 0;
  }
  __syncthreads();
  if (found >= 0) return c.id(static_cast<size_t>(found));
  // Rounding left the target at the end: the last one that has a weight.
  const size_t end = (block + 1) * kSumBlock < c.count ? (block + 1) * kSumBlock : c.count;
  for (size_t i = threadIdx.x; i < end; i += blockDim.x)
    if (c.weights[i] > 0) atomicMax(&last, static_cast<int>(i));
  __syncthreads();
  return c.id(static_cast<size_t>(last));
}

__global__ void __launch_bounds__(kSelectThreads)
    draw_kernel(SampleArgs args, Workspace work, bool top_k) {
  const SampleArgs p = settled(args);
  auto& shared = *reinterpret_cast<SelectShared*>(dynamic_shared());
  const size_t row = blockIdx.x;
  const double most = best_of_row(work, row).score;
  if (!is_finite(most)) {
    if (threadIdx.x == 0) p.chosen[row] = -1;
    return;
  }
  Candidates c = {p.vocab, work.weights + row * work.blocks * kSumBlock,
                  work.sums + row * work.blocks, top_k ? work.ids + row * p.vocab : nullptr};
  if (top_k) {
    c = keep_top_k(p, shared, row, most, c);
    add_up_blocks(c);
  }
  auto* const tile = reinterpret_cast<double*>(shared.keys);  // selecting needs it at other times
  double total = accumulate_sums(c, tile);
  if (p.top_p < 1) {
    keep_top_p(shared, c, p.top_p * total);
    add_up_blocks(c);
    total = accumulate_sums(c, tile);
  }
  const int32_t id = draw(c, p.uniforms[row] * total);
  if (threadIdx.x == 0) p.chosen[row] = id;
}

__global__ void mark_seen_kernel(const int32_t* rows, const int32_t* ids, size_t count,
                                 size_t vocab, uint8_t* seen) {
  const size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < count) seen[static_cast<size_t>(rows[i]) * vocab + static_cast<size_t>(ids[i])] = 1;
}

}  // namespace

size_t sample_workspace(const SampleArgs& p) {
  const Workspace work(p, nullptr);
  const size_t best = p.rows * work.chunks * sizeof(Best);
  if (p.temperature == 0) return best;
  const size_t weights = p.rows * work.blocks * (kSumBlock + 1) * sizeof(double);
  return best + weights + (cuts_top_k(p) ? p.rows * p.vocab * sizeof(int32_t) : 0);
}

cudaError_t sample(const SampleArgs& p, void* workspace, cudaStream_t stream) {
  const Workspace work(p, workspace);
  const auto rows = static_cast<unsigned>(p.rows);
  const dim3 grid(static_cast<unsigned>(work.chunks), rows);
  cudaError_t error = launch(best_kernel, {grid, dim3(kThreads), 0, stream}, p, work);
  if (error != cudaSuccess) return error;
  if (p.temperature == 0)
    return launch(choose_best_kernel, {dim3(rows), dim3(kThreads), 0, stream}, p, work);
  if (!cuts_top_k(p)) {
    const dim3 weighing(blocks_of(work.blocks, kThreads / kSumLanes), rows);
    error = launch(weigh_kernel, {weighing, dim3(kThreads), 0, stream}, p, work);
    if (error != cudaSuccess) return error;
  }
  const Launch drawing = {dim3(rows), dim3(kSelectThreads), sizeof(SelectShared), stream};
  return launch(draw_kernel, drawing, p, work, cuts_top_k(p));
}

cudaError_t mark_seen(const int32_t* rows, const int32_t* ids, size_t count, size_t vocab,
                      uint8_t* seen, cudaStream_t stream) {
  const Launch how = {dim3(blocks_of(count, kThreads)), dim3(kThreads), 0, stream};
  return launch(mark_seen_kernel, how, rows, ids, count, vocab, seen);
}

}  // namespace llmkit::cuda
