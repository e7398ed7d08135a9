#include "cuda/base/fours.h"
#include "cuda/base/reduce.h"
#include "cuda/reduce/reduce.h"

namespace llmkit::cuda {
namespace {

/// Elements of a slice of the last axis, and of an axis whose neighbours lie apart.
constexpr size_t kRowSlice = 8192, kColumnSlice = 128;

struct MaximumOrNan {
  static constexpr float kNothing = Largest::kNothing;
  static __device__ __forceinline__ float of(float a, float b) { return a != a || a > b ? a : b; }
};

/// How the middle axis of x is cut; an empty one is one empty slice.
struct Slices {
  size_t length, count;
  Slices(size_t middle, size_t most)
      : length(std::min(most, middle)), count(middle <= most ? 1 : (middle + most - 1) / most) {}

  __device__ size_t begin(size_t i) const { return i % count * length; }
  __device__ size_t size(size_t i, size_t middle) const {
    const size_t rest = middle - begin(i);
    return rest < length ? rest : length;
  }
};

/// y [outer, slices] = what the slices of each row of x [outer, middle] come to, over `divisor`.
template <class Operation, class T>
__global__ void __launch_bounds__(T::kBlock)
    reduce_row_slices(ReduceArgs p, Slices slices, float divisor) {
  const size_t i = T::row();
  if (i >= p.outer * slices.count) return;
  const float* const x = p.x + i / slices.count * p.middle + slices.begin(i);
  const size_t n = slices.size(i, p.middle);
  float result = Operation::kNothing;
  T::each_four(n, [&](size_t at) {
    const Four<float> four = load_four(x, at, n, Operation::kNothing);
#pragma unroll
    for (int e = 0; e < 4; ++e) result = Operation::of(result, four.at[e]);
  });
  result = T::template reduce<Operation>(result);
  if (T::rank() == 0) p.y[i] = result / divisor;
}

/// y [outer, slices, inner] = the same for the columns of x [outer, middle, inner], up the slices;
/// a thread takes four columns.
template <class Operation>
__global__ void __launch_bounds__(kElementThreads)
    reduce_column_slices(ReduceArgs p, Slices slices, float divisor) {
  each_row_four(p.outer * slices.count, p.inner, [&](size_t i, size_t col) {
    const float* const x = p.x + (i / slices.count * p.middle + slices.begin(i)) * p.inner;
    const size_t n = slices.size(i, p.middle);
    Four<float> result;
    for (float& value : result.at) value = Operation::kNothing;
    const auto fold = [&](auto load) {
#pragma unroll 8
      for (size_t row = 0; row < n; ++row)
        result = map_four([](float a, float b) { return Operation::of(a, b); }, result,
                          load(x + row * p.inner));
    };
    if (p.inner % 4 == 0 && moves_whole(x, col, p.inner))
      fold([&](const float* row) { return load_whole(row + col); });
    else
      fold([&](const float* row) { return load_four(row, col, p.inner); });
    for (float& value : result.at) value /= divisor;
    store_four(p.y + i * p.inner, col, p.inner, result);
  });
}

template <class Operation>
cudaError_t reduce_slices(const ReduceArgs& p, const Slices& slices, float divisor,
                          cudaStream_t stream) {
  const size_t results = p.outer * slices.count;
  if (p.inner == 1)
    return with_team(slices.length, [&](auto team) {
      return launch(reduce_row_slices<Operation, decltype(team)>, team.over(results, stream), p,
                    slices, divisor);
    });
  return launch(reduce_column_slices<Operation>, over_rows(results, p.inner, stream), p, slices,
                divisor);
}

Slices slices_of(const ReduceArgs& p) {
  return Slices(p.middle, p.inner == 1 ? kRowSlice : kColumnSlice);
}

/// Reduces the slices and, where there are several, what they came to.
template <class Operation>
cudaError_t reduce_all(const ReduceArgs& p, float divisor, float* partial, cudaStream_t stream) {
  const Slices slices = slices_of(p);
  if (slices.count == 1) return reduce_slices<Operation>(p, slices, divisor, stream);
  const ReduceArgs first = {p.outer, p.middle, p.inner, p.x, partial};
  const cudaError_t error = reduce_slices<Operation>(first, slices, 1, stream);
  if (error != cudaSuccess) return error;
  const ReduceArgs second = {p.outer, slices.count, p.inner, partial, p.y};
  return reduce_slices<Operation>(second, Slices(slices.count, slices.count), divisor, stream);
}

/// A value and where it stands in its row; one that is nowhere is kNowhere.
struct Place {
  float value;
  unsigned index;
};
constexpr unsigned kNowhere = ~0u;

/// The larger value; of equal ones that which stands first.
__device__ __forceinline__ Place better(Place a, Place b) {
  return b.value > a.value || (b.value == a.value && b.index < a.index) ? b : a;
}

__device__ __forceinline__ Place warp_best(Place best) {
#pragma unroll
  for (int apart = kWarp / 2; apart > 0; apart /= 2)
    best = better(best, {__shfl_xor_sync(kAllLanes, best.value, apart),
                         __shfl_xor_sync(kAllLanes, best.index, apart)});
  return best;
}

constexpr int kArgmaxThreads = 1024;

__global__ void __launch_bounds__(kArgmaxThreads)
    argmax_kernel(size_t cols, const float* x, int32_t* y) {
  __shared__ Place of_warps[kArgmaxThreads / kWarp];
  const float* const row = x + blockIdx.x * cols;
  const unsigned lane = threadIdx.x % kWarp;
  Place best = {Largest::kNothing, kNowhere};
  for (size_t i = 4 * threadIdx.x; i < cols; i += 4 * kArgmaxThreads) {
    const Four<float> four = load_four(row, i, cols, Largest::kNothing);
#pragma unroll
    for (int e = 0; e < 4; ++e) best = better(best, {four.at[e], static_cast<unsigned>(i + e)});
  }
  best = warp_best(best);
  if (lane == 0) of_warps[threadIdx.x / kWarp] = best;
  __syncthreads();
  best = warp_best(of_warps[lane]);
  // Only a row of nothing but NaN has no best; one that begins with NaN has the first, as on the
  // CPU.
  if (threadIdx.x == 0) y[blockIdx.x] = row[0] != row[0] ? 0 : static_cast<int32_t>(best.index);
}

}  // namespace

size_t reduce_workspace(const ReduceArgs& args) {
  const Slices slices = slices_of(args);
  return slices.count == 1 ? 0 : args.outer * slices.count * args.inner * sizeof(float);
}

cudaError_t reduce(Reduction reduction, const ReduceArgs& args, void* workspace,
                   cudaStream_t stream) {
  float* const partial = static_cast<float*>(workspace);
  if (reduction == Reduction::kMax) return reduce_all<MaximumOrNan>(args, 1, partial, stream);
  const float divisor = reduction == Reduction::kMean ? static_cast<float>(args.middle) : 1;
  return reduce_all<Total>(args, divisor, partial, stream);
}

cudaError_t argmax(size_t rows, size_t cols, const float* x, int32_t* y, cudaStream_t stream) {
  const Launch blocks = {dim3(static_cast<unsigned>(rows)), dim3(kArgmaxThreads), 0, stream};
  return launch(argmax_kernel, blocks, cols, x, y);
}

}  // namespace llmkit::cuda
