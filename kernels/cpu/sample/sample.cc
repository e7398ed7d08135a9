#include "cpu/sample/sample.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/cpu_features.h"
#include "base/parallel.h"
#include "base/scratch.h"

namespace llmkit {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
/// Candidates around a cut that are few enough to sort.
constexpr size_t kFew = 512;
constexpr int kMostHalvings = 60;
/// Logits whose largest is found at a time.
constexpr size_t kGreedyBlock = 4096;

const SampleKernels& kernels() {
#define SAMPLE_KERNELS(isa, name) \
  if (runs_here(isa)) return name;
#include "cpu/sample/kernels.inc"
#undef SAMPLE_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

size_t padded(size_t n) { return (n + kSampleLanes - 1) / kSampleLanes * kSampleLanes; }

/// Scores, then weights, of the tokens that may be chosen, in the order of their ids; the last
/// eight are filled up with what is never chosen. In the scratch memory of the caller.
struct Candidates {
  explicit Candidates(size_t vocab)
      : values(reinterpret_cast<double*>(scratch(Scratch::kSample, 2 * padded(vocab)))),
        places(reinterpret_cast<int32_t*>(scratch(Scratch::kPlaces, 2 * vocab))),
        ids(places + vocab),
        count(vocab) {}

  size_t size() const { return padded(count); }
  int64_t id(size_t i) const { return all ? static_cast<int64_t>(i) : ids[i]; }

  double* const values;
  int32_t* const places;  // working memory
  int32_t* const ids;     // unless all of the vocabulary are candidates
  bool all = true;
  size_t count;
};

void fill_up(Candidates& c) { std::fill(c.values + c.count, c.values + c.size(), -kInfinity); }

void read_scores(const SampleArgs& args, Candidates& c) {
  const size_t whole = args.vocab / kSampleLanes * kSampleLanes;
  parallel_for(whole / kSampleLanes, grain_for(16 * kSampleLanes), [&](size_t begin, size_t end) {
    const size_t first = begin * kSampleLanes;
    kernels().widen((end - begin) * kSampleLanes, args.logits + first, c.values + first);
  });
  fill_up(c);
  for (size_t i = whole; i < args.vocab; ++i)
    c.values[i] = args.logits[i] == args.logits[i] ? args.logits[i] : -kInfinity;
  if (args.penalty == 1) return;
  for (size_t i = 0; i < args.seen_count; ++i) {
    double& score = c.values[args.seen[i]];
    score = score > 0 ? score / args.penalty : score * args.penalty;
  }
}

/// The sums of blocks, in order: the same whatever the threads.
SampleAbove above(const Candidates& c, double limit) {
  constexpr size_t kChunk = 64 * kSampleBlock;
  SampleAbove parts[kSampleMostIds / kChunk];
  const size_t chunks = (c.size() + kChunk - 1) / kChunk;
  parallel_for(chunks, 1, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const size_t at = i * kChunk;
      parts[i] = kernels().above(std::min(kChunk, c.size() - at), c.values + at, limit);
    }
  });
  SampleAbove all = {0, 0};
  for (size_t i = 0; i < chunks; ++i) all = {all.count + parts[i].count, all.sum + parts[i].sum};
  return all;
}

/// Where a cut lies: above `high` less than the target, above `low` at least that.
struct Bracket {
  double low, high;
  SampleAbove above_high;
};

/// Finds few values among which the cut lies. limit(d) falls with d, limit(0) is the largest value;
/// reached(above) says whether what lies above a limit is enough.
template <typename Limit, typename Reached>
Bracket bracket(const Candidates& c, const Limit& limit, const Reached& reached) {
  double near = 0, far = 1;
  SampleAbove at_near = {0, 0}, at_far = above(c, limit(far));
  while (!reached(at_far) && far < 2048) {
    near = far;
    at_near = at_far;
    far *= 2;
    at_far = above(c, limit(far));
  }
  if (!reached(at_far)) return {-kInfinity, limit(far), at_far};
  for (int i = 0; i < kMostHalvings && at_far.count - at_near.count > kFew; ++i) {
    const double middle = near + (far - near) / 2;
    const SampleAbove at_middle = above(c, limit(middle));
    (reached(at_middle) ? far : near) = middle;
    (reached(at_middle) ? at_far : at_near) = at_middle;
  }
  return {limit(far), limit(near), at_near};
}

/// Where the values of a bracket are, the largest first, the first of equals first.
std::vector<int32_t> ranked(const Candidates& c, const Bracket& b) {
  const size_t count = kernels().between(c.count, c.values, b.low, b.high, c.places);
  std::vector<int32_t> found(c.places, c.places + count);
  std::stable_sort(found.begin(), found.end(),
                   [&](int32_t a, int32_t b) { return c.values[a] > c.values[b]; });
  return found;
}

/// Leaves the k highest scores, and those equal to the k-th.
void keep_top_k(size_t k, double most, Candidates& c) {
  if (k >= c.count) return;
  const Bracket cut = bracket(
      c, [&](double d) { return most - d; }, [&](const SampleAbove& a) { return a.count >= k; });
  const std::vector<int32_t> around = ranked(c, cut);
  const size_t place = k - cut.above_high.count - 1;
  if (place >= around.size()) return;  // fewer are finite
  const double below = std::nextafter(c.values[around[place]], -kInfinity);
  c.count = kernels().between(c.count, c.values, below, kInfinity, c.ids);
  for (size_t i = 0; i < c.count; ++i) c.values[i] = c.values[c.ids[i]];
  fill_up(c);
  c.all = false;
}

void weigh(double most, double temperature, Candidates& c) {
  const size_t work = 32 * kSampleLanes;
  parallel_for(c.size() / kSampleLanes, grain_for(work), [&](size_t begin, size_t end) {
    double* const values = c.values + begin * kSampleLanes;
    kernels().weigh((end - begin) * kSampleLanes, most, temperature, values);
  });
}

std::vector<double> block_sums(const Candidates& c) {
  std::vector<double> sums;
  for (size_t at = 0; at < c.size(); at += kSampleBlock)
    sums.push_back(kernels().sum(std::min(kSampleBlock, c.size() - at), c.values + at));
  return sums;
}

double total_of(const std::vector<double>& sums) {
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

/// Clears the weights after the one that reaches the target.
void keep_top_p(double target, Candidates& c) {
  const auto reached = [&](double sum) { return sum > 0 && sum >= target; };
  const Bracket cut = bracket(
      c, [](double d) { return std::exp2(-d); },
      [&](const SampleAbove& a) { return reached(a.sum); });
  double before = cut.above_high.sum;
  for (const int32_t at : ranked(c, cut)) {
    const double weight = c.values[at];
    if (reached(before)) c.values[at] = 0;
    before += weight;
  }
  kernels().clear(c.size(), std::fmax(cut.low, 0), c.values);
}

/// The first id whose cumulative weight is above uniform · total.
int64_t draw(const Candidates& c, double uniform) {
  const std::vector<double> sums = block_sums(c);
  const double target = uniform * total_of(sums);
  double before = 0;
  size_t block = 0;
  for (; block + 1 < sums.size() && before + sums[block] <= target; ++block) before += sums[block];
  const auto last_of = [&](size_t end) {
    while (end > 0 && c.values[end - 1] == 0) --end;
    return end - 1;
  };
  const size_t end = std::min((block + 1) * kSampleBlock, c.count);
  for (size_t i = block * kSampleBlock; i < end; ++i) {
    before += c.values[i];
    if (c.values[i] > 0 && before > target) return c.id(i);
  }
  return c.id(last_of(end));
}

/// The first of the largest logits.
int64_t most_probable(size_t vocab, const float* logits) {
  const size_t blocks = (vocab + kGreedyBlock - 1) / kGreedyBlock;
  float* const largest = scratch(Scratch::kSample, blocks);
  parallel_for(blocks, grain_for(16 * kGreedyBlock), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const size_t at = i * kGreedyBlock;
      largest[i] = kernels().largest_logit(std::min(kGreedyBlock, vocab - at), logits + at);
    }
  });
  const float* const most = std::max_element(largest, largest + blocks);
  if (!(std::fabs(*most) < kInfinity)) return -1;
  const auto first = static_cast<size_t>(most - largest) * kGreedyBlock;
  return std::find(logits + first, logits + vocab, *most) - logits;
}

}  // namespace

int64_t sample(const SampleArgs& args) {
  if (args.temperature == 0 && args.penalty == 1) return most_probable(args.vocab, args.logits);
  Candidates c(args.vocab);
  read_scores(args, c);
  const double most = kernels().largest(c.size(), c.values);
  if (!(std::fabs(most) < kInfinity)) return -1;
  if (args.temperature == 0) return std::find(c.values, c.values + c.count, most) - c.values;
  if (args.top_k > 0) keep_top_k(args.top_k, most, c);
  weigh(most, args.temperature, c);
  if (args.top_p < 1) keep_top_p(args.top_p * total_of(block_sums(c)), c);
  return draw(c, args.uniform);
}

}  // namespace llmkit
