#include <algorithm>

#include "cuda/base/launch.h"
#include "cuda/quantize/codes.h"

namespace llmkit::cuda {
namespace {

/// Elements of a run, unless a group is larger.
constexpr size_t kRunSize = 8192;

/// What lies furthest from zero below it, above it and on either side. NaN makes `magnitude` NaN.
struct Extent {
  float low = 0, high = 0;  // low is the distance below
  uint32_t magnitude = 0;   // as bits: NaN is above infinity, which is above all numbers

  __device__ void add(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits &= 0x7fffffffu;
    magnitude = bits > magnitude ? bits : magnitude;
    low = fmaxf(low, 0.0f - value);
    high = fmaxf(high, value);
  }
  __device__ void join_warp() {
    for (int apart = kWarp / 2; apart > 0; apart /= 2) {
      const uint32_t other = __shfl_xor_sync(kAllLanes, magnitude, apart);
      magnitude = other > magnitude ? other : magnitude;
      low = fmaxf(low, __shfl_xor_sync(kAllLanes, low, apart));
      high = fmaxf(high, __shfl_xor_sync(kAllLanes, high, apart));
    }
  }
};

__device__ void write_group(const QuantizeArgs& p, size_t group, const Extent& extent) {
  float largest;
  memcpy(&largest, &extent.magnitude, sizeof largest);
  if (extent.magnitude >= 0x7f800000u) *p.not_finite = 1;
  if (!is_integer(p.spec.format)) {
    p.parts.scales[group] = largest;
    return;
  }
  const float half = half_of(p.spec.format);
  if (!p.spec.zero_points) {
    p.parts.scales[group] = rounded_scale(largest / ((2 * half - 1) / 2), p.spec.scale_type);
    return;
  }
  const float lowest = 0.0f - extent.low;
  const float scale = rounded_scale((extent.high - lowest) / (2 * half - 1), p.spec.scale_type);
  float point = -half - lowest / scale;
  point = point < -half ? -half : point > half - 1 ? half - 1 : point;
  p.parts.scales[group] = scale;
  p.parts.zeros[group] = static_cast<uint8_t>(nearest_integer(point) + half);
}

/// Scales and zero points of rounding to nearest: a warp for each group.
__global__ void __launch_bounds__(kQuantizeThreads) groups_kernel(QuantizeArgs p, size_t groups) {
  const size_t group = (size_t{blockIdx.x} * kQuantizeThreads + threadIdx.x) / kWarp;
  if (group >= groups) return;
  const WeightView values = values_of(p);
  const size_t begin = group * p.spec.group_size;
  const size_t end = begin + p.spec.group_size < p.count ? begin + p.spec.group_size : p.count;
  Extent extent;
  for (size_t i = begin + threadIdx.x % kWarp; i < end; i += kWarp)
    extent.add(stored_float(values, i));
  extent.join_warp();
  if (threadIdx.x % kWarp == 0) write_group(p, group, extent);
}

/// round(value / scale + zero) within the bits, as it is stored.
__device__ uint8_t integer_code(const QuantizeArgs& p, float value, size_t group) {
  const float half = half_of(p.spec.format);
  const float zero = p.spec.zero_points ? static_cast<float>(p.parts.zeros[group]) - half : 0.0f;
  const float steps = value / p.parts.scales[group] + zero;
  const float low = steps > -half ? steps : -half;
  return static_cast<uint8_t>(nearest_integer(low < half - 1 ? low : half - 1) + half);
}

__device__ uint8_t codebook_code(const Codebook& book, float value, float scale) {
  const float factor = 1 / scale;
  // A block of zeros, or of numbers too small to have a reciprocal in float32.
  if (!(factor < __builtin_huge_valf())) return book.zero_code;
  return book.codes[rank_of(value * factor, book.midpoints)];
}

__device__ uint8_t code_of(const QuantizeArgs& p, const Codebook& book, size_t i) {
  // A nibble without an element.
  if (i >= p.count) return p.spec.format == WeightFormat::kNf4 ? 7 : 0;
  const size_t group = i / p.spec.group_size;
  const float value = stored_float(values_of(p), i);
  if (is_integer(p.spec.format)) return integer_code(p, value, group);
  return codebook_code(book, value, p.parts.scales[group]);
}

/// A byte of codes for each thread.
__global__ void __launch_bounds__(kQuantizeThreads)
    codes_kernel(QuantizeArgs p, Codebook constants, size_t bytes) {
  __shared__ Codebook book;  // threads look up different entries
  if (threadIdx.x == 0) book = constants;
  __syncthreads();
  const size_t byte = size_t{blockIdx.x} * kQuantizeThreads + threadIdx.x;
  if (byte >= bytes) return;
  if (p.spec.format == WeightFormat::kInt8) {
    p.parts.codes[byte] = code_of(p, book, byte);
    return;
  }
  const uint8_t first = code_of(p, book, 2 * byte), second = code_of(p, book, 2 * byte + 1);
  p.parts.codes[byte] = static_cast<uint8_t>(
      p.spec.format == WeightFormat::kInt4 ? first | second << 4 : first << 4 | second);
}

/// What was made, to be compared with the values.
__device__ WeightView quantized_of(const QuantizeArgs& p) {
  WeightView view;
  view.format = p.spec.format;
  view.codes = p.parts.codes;
  view.group_size = p.spec.group_size;
  view.scales = p.parts.scales;
  view.zeros = p.parts.zeros;
  return view;
}

/// Sixteen threads for each run; element i of a group is added to lane i % 16.
__global__ void __launch_bounds__(kQuantizeThreads)
    sums_kernel(QuantizeArgs p, Codebook constants, size_t run_size) {
  __shared__ float table[16];
  if (threadIdx.x < 16) table[threadIdx.x] = constants.values[threadIdx.x];
  __syncthreads();
  const WeightView values = values_of(p), quantized = quantized_of(p);
  const size_t run = (size_t{blockIdx.x} * kQuantizeThreads + threadIdx.x) / kSumLanes;
  const size_t begin = run * run_size;
  const size_t end = begin + run_size < p.count ? begin + run_size : p.count;
  float squares = 0, errors = 0;
  for (size_t group = begin; group < end; group += p.spec.group_size) {
    const size_t last = group + p.spec.group_size < end ? group + p.spec.group_size : end;
    for (size_t i = group + threadIdx.x % kSumLanes; i < last; i += kSumLanes) {
      const float value = stored_float(values, i);
      const float error = value - stored_value(quantized, table, i);
      squares = fmaf(value, value, squares);
      errors = fmaf(error, error, errors);
    }
  }
  squares = add_lanes(squares);
  errors = add_lanes(errors);
  if (begin < end && threadIdx.x % kSumLanes == 0) p.sums[run] = {squares, errors};
}

}  // namespace

size_t quantize_run(size_t group_size) {
  const size_t unit = group_size % 2 == 0 ? group_size : 2 * group_size;
  return unit * std::max<size_t>(1, kRunSize / unit);
}

cudaError_t quantize(const QuantizeArgs& p, cudaStream_t stream) {
  const Codebook book = codebook_of(p.spec.format);
  const size_t groups = (p.count + p.spec.group_size - 1) / p.spec.group_size;
  const size_t bytes = p.spec.format == WeightFormat::kInt8 ? p.count : (p.count + 1) / 2;
  const size_t run = quantize_run(p.spec.group_size), runs = (p.count + run - 1) / run;
  const auto threads = [&](size_t count) {
    return Launch{dim3(blocks_of(count, kQuantizeThreads)), dim3(kQuantizeThreads), 0, stream};
  };
  cudaError_t error = launch(groups_kernel, threads(groups * kWarp), p, groups);
  if (error == cudaSuccess && p.spec.method == QuantizeMethod::kSearch)
    error = search_grids(p, book, groups, stream);
  if (error == cudaSuccess) error = launch(codes_kernel, threads(bytes), p, book, bytes);
  if (error == cudaSuccess) error = launch(sums_kernel, threads(runs * kSumLanes), p, book, run);
  return error;
}

}  // namespace llmkit::cuda
