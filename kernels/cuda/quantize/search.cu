#include "cpu/quantize/candidates.h"
#include "cuda/base/launch.h"
#include "cuda/quantize/codes.h"

namespace llmkit::cuda {
namespace {

/// The grid of a group: value = level * scale.
struct Grid {
  float scale;
  float zero;  // on the signed range
};

/// What the codes of nf4 and fp4 stand for: sixteen values, ascending, and what lies between them.
struct CodebookLevels {
  const float* values;
  const float* midpoints;

  __device__ CodebookLevels(const QuantizeArgs&, const Codebook& book)
      : values(book.sorted), midpoints(book.midpoints) {}
  /// A value in units of a scale, as its code is chosen.
  __device__ float steps(float value, float scale) const { return value * (1 / scale); }
  /// The level nearest to so many steps, counted from the zero point.
  __device__ float nearest(float steps, float) const { return values[rank_of(steps, midpoints)]; }
  __device__ float stored(float scale) const { return scale; }
  /// How far a zero point may move, and one that has moved.
  __device__ int reach() const { return 0; }
  __device__ float shifted(float zero, int) const { return zero; }
};

/// The integers within -half .. half - 1, less the zero point.
struct IntegerLevels {
  float half;
  ScaleType type;
  bool zero_points;

  __device__ IntegerLevels(const QuantizeArgs& p, const Codebook&)
      : half(half_of(p.spec.format)), type(p.spec.scale_type), zero_points(p.spec.zero_points) {}
  __device__ float within(float point) const {
    const float low = point > -half ? point : -half;
    return low < half - 1 ? low : half - 1;
  }
  __device__ float steps(float value, float scale) const { return value / scale; }
  __device__ float nearest(float steps, float zero) const {
    return nearest_integer(within(steps + zero)) - zero;
  }
  __device__ float stored(float scale) const { return rounded_scale(scale, type); }
  __device__ int reach() const { return zero_points ? kZeroReach : 0; }
  __device__ float shifted(float zero, int shift) const {
    return within(zero + static_cast<float>(shift));
  }
};

/// A group as one of its sixteen threads sees it: lane `lane` of its sums.
struct Group {
  WeightFormat format;
  const uint8_t* values;  // aligned to an element
  size_t count;
  unsigned lane;

  __device__ float at(size_t i) const {
    if (format == WeightFormat::kF32) return reinterpret_cast<const float*>(values)[i];
    if (format == WeightFormat::kBf16)
      return __bfloat162float(reinterpret_cast<const bf16*>(values)[i]);
    return __half2float(reinterpret_cast<const __half*>(values)[i]);
  }
};

__device__ float magnitude_of(const Group& x) {
  float most = 0;
  for (size_t i = x.lane; i < x.count; i += kSumLanes) most = fmaxf(most, fabsf(x.at(i)));
  for (unsigned apart = kSumLanes / 2; apart > 0; apart /= 2)
    most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, static_cast<int>(apart)));
  return most;
}

/// Sums over a group of x, in levels l of a grid of scale s: (x - l s)², x l and l².
struct Fit {
  float errors = 0, products = 0, squares = 0;
};

template <class Levels>
__device__ Fit fit_of(const Group& x, Grid grid, const Levels& levels) {
  Fit fit;
  for (size_t i = x.lane; i < x.count; i += kSumLanes) {
    const float value = x.at(i);
    const float level = levels.nearest(levels.steps(value, grid.scale), grid.zero);
    const float error = value - level * grid.scale;
    fit.errors += error * error;
    fit.products += value * level;
    fit.squares += level * level;
  }
  return {add_lanes(fit.errors), add_lanes(fit.products), add_lanes(fit.squares)};
}

/// The best scale for the codes of a candidate, and by how much less than the squares of x its
/// error is.
struct Candidate {
  float gain, scale;
  int index;

  /// The best that the sixteen threads of a group have; of equal ones the first.
  __device__ Candidate best_of_lanes() const {
    Candidate best = *this;
    for (unsigned apart = kSumLanes / 2; apart > 0; apart /= 2) {
      const int lanes = static_cast<int>(apart);
      const Candidate other = {__shfl_xor_sync(kAllLanes, best.gain, lanes),
                               __shfl_xor_sync(kAllLanes, best.scale, lanes),
                               __shfl_xor_sync(kAllLanes, best.index, lanes)};
      if (other.gain > best.gain || (other.gain == best.gain && other.index < best.index))
        best = other;
    }
    return best;
  }
};

/// The best candidate with a zero point: a thread for each factor. Its gain is 0 where none has
/// any.
template <class Levels>
__device__ Candidate best_factor(const Group& x, Grid nearest, const Levels& levels) {
  static_assert(kSearchFactors == kSumLanes);
  const int index = static_cast<int>(x.lane);
  const float factor =
      (1 / nearest.scale) * (static_cast<float>(kFirstFactor + index * index) / kFactorUnit);
  float products = 0, squares = 0;
  for (size_t i = 0; i < x.count; ++i) {
    const float value = x.at(i), level = levels.nearest(value * factor, nearest.zero);
    products += value * level;
    squares += level * level;
  }
  const float scale = products / squares, gain = products * scale;
  return Candidate{gain > 0 ? gain : 0, scale, index}.best_of_lanes();
}

template <class Levels>
__device__ Grid best_candidate(const Group& x, Grid nearest, const Levels& levels) {
  Grid best = nearest;
  float most = 0;
  for (int shift = -levels.reach(); shift <= levels.reach(); ++shift) {
    const float zero = levels.shifted(nearest.zero, shift);
    const Candidate found = best_factor(x, {nearest.scale, zero}, levels);
    if (!(found.gain > most)) continue;
    most = found.gain;
    best = {found.scale, zero};
  }
  return best;
}

template <class Levels>
__device__ Grid searched_grid(const Group& x, Grid nearest, const Levels& levels) {
  const float magnitude = magnitude_of(x);
  const bool searched = magnitude >= kSmallestSearched && magnitude <= kLargestSearched;
  Grid best = nearest, next = best_candidate(x, nearest, levels);
  float least = fit_of(x, nearest, levels).errors;
  // The other half of the warp may be at a group of its own: nobody leaves before the last sum.
  for (int round = 0; round < kSearchRounds; ++round) {
    next.scale = levels.stored(next.scale);
    const Fit fit = fit_of(x, next, levels);
    if (searched && fit.errors < least) {
      least = fit.errors;
      best = next;
    }
    if (fit.squares > 0) next.scale = fit.products / fit.squares;
  }
  return best;
}

/// Sixteen threads for each group.
template <class Levels>
__global__ void __launch_bounds__(kQuantizeThreads, 4)
    search_kernel(QuantizeArgs p, Codebook constants, size_t groups) {
  __shared__ Codebook book;  // threads look up different entries
  if (threadIdx.x == 0) book = constants;
  __syncthreads();
  const size_t group = (size_t{blockIdx.x} * kQuantizeThreads + threadIdx.x) / kSumLanes;
  const size_t begin = group * p.spec.group_size;
  const size_t rest = begin < p.count ? p.count - begin : 0;
  const size_t element_bytes = p.format == WeightFormat::kF32 ? 4 : 2;
  const Group x = {p.format, p.values + begin * element_bytes,
                   rest < p.spec.group_size ? rest : p.spec.group_size, threadIdx.x % kSumLanes};
  const float half = half_of(p.spec.format);
  Grid nearest = {1, 0};  // of no group
  if (group < groups) {
    nearest.scale = p.parts.scales[group];
    if (p.spec.zero_points) nearest.zero = static_cast<float>(p.parts.zeros[group]) - half;
  }
  const Grid grid = searched_grid(x, nearest, Levels(p, book));
  if (group >= groups || x.lane != 0) return;
  p.parts.scales[group] = grid.scale;
  if (p.spec.zero_points) p.parts.zeros[group] = static_cast<uint8_t>(grid.zero + half);
}

}  // namespace

cudaError_t search_grids(const QuantizeArgs& p, const Codebook& book, size_t groups,
                         cudaStream_t stream) {
  const Launch how = {dim3(blocks_of(groups * kSumLanes, kQuantizeThreads)), dim3(kQuantizeThreads),
                      0, stream};
  const bool integers =
      p.spec.format == WeightFormat::kInt8 || p.spec.format == WeightFormat::kInt4;
  return launch(integers ? search_kernel<IntegerLevels> : search_kernel<CodebookLevels>, how, p,
                book, groups);
}

}  // namespace llmkit::cuda
