#pragma once

#include <cstring>

#include "cuda/base/cuda.h"

// Where a ranking is cut: the key of the value at which enough have been counted, from the largest
// down, found by histograms of ever smaller ranges of keys. Sums of weights are kept in integers,
// so that the order in which threads add to them does not matter.

namespace llmkit::cuda {

constexpr unsigned kSelectThreads = 1024;
constexpr unsigned kBinBits = 11, kBins = 1u << kBinBits;
/// Keys that are few enough to compare each with each.
constexpr unsigned kFewKeys = kSelectThreads;
/// Threads that add up the bins, and the bins of each.
constexpr unsigned kStretches = 64, kStretch = kBins / kStretches;

/// A count of weights in [0, 1], and their sum as whole + fraction · 2^-64.
struct Tally {
  uint64_t count = 0, fraction = 0, whole = 0;

  __device__ void add(uint64_t more, uint64_t more_fraction, uint64_t more_whole) {
    count += more;
    fraction += more_fraction;
    whole += more_whole + (fraction < more_fraction ? 1 : 0);
  }
  __device__ void add(const Tally& other) { add(other.count, other.fraction, other.whole); }
  __device__ void add_weight(double weight) {
    add(1, weight < 1 ? static_cast<uint64_t>(weight * 0x1p64) : 0, weight < 1 ? 0 : 1);
  }
  __device__ double sum() const {
    return static_cast<double>(whole) + static_cast<double>(fraction) * 0x1p-64;
  }
};

/// A number >= 0 as a key: keys have the order of the numbers.
__device__ inline uint64_t bits_of(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
__device__ inline double from_bits(uint64_t bits) {
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
/// Any number as a key; minus infinity is 0, the key of what takes no part.
__device__ inline uint64_t key_of(double value) {
  const uint64_t bits = bits_of(value + 0.0);  // of two zeros, the positive one
  if (value == -__builtin_huge_val()) return 0;
  return bits >> 63 ? ~bits : bits | uint64_t{1} << 63;
}
__device__ inline double from_key(uint64_t key) {
  return from_bits(key >> 63 ? key ^ uint64_t{1} << 63 : ~key);
}

/// Tallies by bin; a sum lies in three words of 32 bits, which have native atomic additions.
struct Histogram {
  uint32_t count[kBins], low[kBins], high[kBins], whole[kBins];

  __device__ void clear() {
    for (unsigned i = threadIdx.x; i < kBins; i += blockDim.x)
      count[i] = low[i] = high[i] = whole[i] = 0;
  }
  __device__ void add_count(unsigned bin) { atomicAdd(&count[bin], 1u); }
  __device__ void add_weight(unsigned bin, double weight) {
    Tally one;
    one.add_weight(weight);
    atomicAdd(&count[bin], 1u);
    const uint64_t low_sum = static_cast<uint32_t>(one.fraction) +
                             uint64_t{atomicAdd(&low[bin], static_cast<uint32_t>(one.fraction))};
    const uint64_t more_high = (one.fraction >> 32) + (low_sum >> 32);
    const uint64_t high_sum = more_high + atomicAdd(&high[bin], static_cast<uint32_t>(more_high));
    const auto more_whole = static_cast<uint32_t>(one.whole + (high_sum >> 32));
    if (more_whole != 0) atomicAdd(&whole[bin], more_whole);
  }
  __device__ Tally tally(unsigned bin) const {
    Tally tally;
    tally.add(count[bin], uint64_t{high[bin]} << 32 | low[bin], whole[bin]);
    return tally;
  }
};

/// The keys around a cut, and what lies above them.
struct KeyRange {
  uint64_t low = 0, high = 0;
  uint64_t count = 0;  // 0: the goal is out of reach
  Tally above;
};

/// The key at which the goal is reached.
struct Cut {
  uint64_t key = 0;
  uint64_t equal = 0;  // values that have it; 0: the goal is out of reach
  Tally above;         // those of larger keys
};

/// Shared memory of `select`.
struct SelectShared {
  Histogram histogram;
  Tally stretches[kStretches];
  uint64_t keys[kFewKeys];
  unsigned key_count;
  KeyRange range;
  Cut cut;
};

/// Thread 0: the bin in which the goal is reached, counted from the last one down.
template <class Goal>
__device__ void find_bin(SelectShared& shared, const Goal& goal, unsigned shift, bool first) {
  KeyRange& range = shared.range;
  range.count = 0;
  for (unsigned stretch = kStretches; stretch-- > 0;) {
    Tally with = range.above;
    with.add(shared.stretches[stretch]);
    if (!goal.reached(with)) {
      range.above = with;
      continue;
    }
    unsigned bin = (stretch + 1) * kStretch - 1;
    for (;; --bin) {
      with = range.above;
      with.add(shared.histogram.tally(bin));
      if (goal.reached(with)) break;
      range.above = with;
    }
    range.count = shared.histogram.count[bin];
    const uint64_t begin = range.low + (uint64_t{bin} << shift);
    const uint64_t last = begin + ((uint64_t{1} << shift) - 1);
    range.high = last < range.high ? last : range.high;
    range.low = first && bin == 0 ? 1 : begin;
    return;
  }
}

/// Narrows the range to the bin in which the goal is reached. In the first round, keys below the
/// range belong to its first bin.
template <bool kWeights, class Keys, class Goal>
__device__ void narrow(SelectShared& shared, const Keys& keys, const Goal& goal, bool first) {
  const uint64_t low = shared.range.low, high = shared.range.high;
  const int used_bits = 64 - __clzll(static_cast<long long>(high - low));
  const unsigned shift = used_bits > static_cast<int>(kBinBits) ? used_bits - kBinBits : 0;
  shared.histogram.clear();
  __syncthreads();
  for (size_t i = threadIdx.x; i < keys.count; i += blockDim.x) {
    const uint64_t key = keys.at(i);
    if (key == 0 || key > high || (key < low && !first)) continue;
    const auto bin = static_cast<unsigned>(key < low ? 0 : (key - low) >> shift);
    if constexpr (kWeights)
      shared.histogram.add_weight(bin, from_bits(key));
    else
      shared.histogram.add_count(bin);
  }
  __syncthreads();
  if (threadIdx.x < kStretches) {
    Tally tally;
    for (unsigned i = 0; i < kStretch; ++i)
      tally.add(shared.histogram.tally(threadIdx.x * kStretch + i));
    shared.stretches[threadIdx.x] = tally;
  }
  __syncthreads();
  if (threadIdx.x == 0) find_bin(shared, goal, shift, first);
  __syncthreads();
}

/// The few keys of the range are put side by side and each is compared with all.
template <bool kWeights, class Keys, class Goal>
__device__ void rank_few(SelectShared& shared, const Keys& keys, const Goal& goal) {
  const KeyRange range = shared.range;
  for (size_t i = threadIdx.x; i < keys.count; i += blockDim.x) {
    const uint64_t key = keys.at(i);
    if (key >= range.low && key <= range.high) shared.keys[atomicAdd(&shared.key_count, 1u)] = key;
  }
  __syncthreads();
  if (threadIdx.x >= range.count) return;
  const uint64_t mine = shared.keys[threadIdx.x];
  Tally above = range.above, equal;
  bool first_of_equals = true;
  for (unsigned i = 0; i < range.count; ++i) {
    const uint64_t key = shared.keys[i];
    if (key < mine) continue;
    if (key == mine && i < threadIdx.x) first_of_equals = false;
    Tally one;
    if constexpr (kWeights)
      one.add_weight(from_bits(key));
    else
      one.count = 1;
    if (key == mine)
      equal.add(one);
    else
      above.add(one);
  }
  Tally with = above;
  with.add(equal);
  if (first_of_equals && !goal.reached(above) && goal.reached(with))
    shared.cut = {mine, equal.count, above};
}

/// Where a ranking of keys is cut. All threads of a block of kSelectThreads call it, and get the
/// same.
///
/// @param keys  `count` of them, `at(i)` is one; 0 takes no part. With kWeights a key is the bits
///              of a weight in (0, 1], else only the count is told to the goal
/// @param goal  `reached(tally)`: whether so many are enough
/// @param likely  the cut is probably between this key and `most`, the largest
template <bool kWeights, class Keys, class Goal>
__device__ Cut select(SelectShared& shared, const Keys& keys, const Goal& goal, uint64_t likely,
                      uint64_t most) {
  if (threadIdx.x == 0) {
    shared.range = {likely, most, 0, {}};
    shared.key_count = 0;
    shared.cut = {};
  }
  __syncthreads();
  narrow<kWeights>(shared, keys, goal, true);
  while (shared.range.count > kFewKeys && shared.range.low < shared.range.high)
    narrow<kWeights>(shared, keys, goal, false);
  const KeyRange range = shared.range;
  if (range.count > kFewKeys) return {range.low, range.count, range.above};
  rank_few<kWeights>(shared, keys, goal);
  __syncthreads();
  const Cut cut = shared.cut;
  __syncthreads();  // before somebody else writes there
  return cut;
}

}  // namespace llmkit::cuda
