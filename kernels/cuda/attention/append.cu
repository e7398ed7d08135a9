#include "cuda/attention/kernels.h"
#include "cuda/base/launch.h"

namespace llmkit::cuda {
namespace {

constexpr int kWarps = 8;
/// Values of a head that a lane has.
constexpr int kValues = kMostHeadSize / kWarp;

struct AppendParams {
  int B, T, H, K, E, half, pages_per_row;
  const float *q, *k, *v, *cos, *sin;
  const int32_t* positions;
  PageLayout layout;
  uint8_t* const* table;
  float* turned;
  bool rounded;  // by whoever reads the keys
};

/// Values lane, lane + 32, ... of a head, turned by the angles of its position; see rope.cu.
__device__ __forceinline__ void read_turned(const AppendParams& p, const float* x, size_t position,
                                            int lane, float (&values)[kValues]) {
  const float* const cos = p.cos + position * p.half;
  const float* const sin = p.sin + position * p.half;
#pragma unroll
  for (int i = 0; i < kValues; ++i) {
    const int e = lane + i * kWarp;
    if (e >= p.E)
      values[i] = 0;
    else if (p.cos == nullptr || e >= 2 * p.half)
      values[i] = x[e];
    else if (e < p.half)
      values[i] = x[e] * cos[e] - x[e + p.half] * sin[e];
    else
      values[i] = x[e] * cos[e - p.half] + x[e - p.half] * sin[e - p.half];
  }
}

/// The scale of a row of int8 codes, and what its values are multiplied by to make them.
struct RowScale {
  float scale, inverse;

  __device__ explicit RowScale(const float (&values)[kValues]) {
    unsigned most = 0;  // as bits, where NaN is above infinity
#pragma unroll
    for (int i = 0; i < kValues; ++i) most = max(most, __float_as_uint(values[i]) & 0x7fffffffu);
    for (int apart = kWarp / 2; apart > 0; apart /= 2)
      most = max(most, __shfl_xor_sync(kAllLanes, most, apart));
    // Below it 127 divided by a magnitude may have no finite value.
    constexpr float kLeast = 0x1p-120f;
    const float magnitude = __uint_as_float(most);
    const bool finite = most < 0x7f800000u, tiny = magnitude < kLeast;
    inverse = finite && !tiny ? 127 / magnitude : 0;
    scale = !finite ? __uint_as_float(0x7fffffffu) : tiny ? 0 : magnitude / 127;
  }
};

/// Writes a key or value as the cache keeps it, and zeros up to the width of its rows.
__device__ __forceinline__ void write_row(const PageLayout& layout, const float (&values)[kValues],
                                          int lane, uint8_t* row, float* scale) {
  const int width = static_cast<int>(layout.width());
  float factor = 1;
  if (layout.type == KvType::kInt8) {
    const RowScale found(values);
    factor = found.inverse;
    if (lane == 0) *scale = found.scale;
  }
#pragma unroll
  for (int i = 0; i < kValues; ++i) {
    const int e = lane + i * kWarp;
    if (e >= width) break;
    if (layout.type == KvType::kF32)
      reinterpret_cast<float*>(row)[e] = values[i];
    else if (layout.type == KvType::kBf16)
      reinterpret_cast<bf16*>(row)[e] = __float2bfloat16_rn(values[i]);
    else
      reinterpret_cast<int8_t*>(row)[e] = static_cast<int8_t>(__float2int_rn(values[i] * factor));
  }
}

/// A warp for each new position and head; those of the queries come first.
__global__ __launch_bounds__(kWarps* kWarp) void append_kernel(AppendParams p) {
  wait_for_inputs();
  let_next_begin();
  const int lane = threadIdx.x % kWarp, heads = (p.turned == nullptr ? 0 : p.H) + p.K;
  const size_t task = static_cast<size_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  const size_t position = task / heads;
  const int head = static_cast<int>(task % heads) - (heads - p.K);
  if (position >= static_cast<size_t>(p.B) * p.T) return;
  float values[kValues];
  if (head < 0) {
    const size_t at = (position * p.H + head + p.H) * p.E;
    read_turned(p, p.q + at, position, lane, values);
    for (int i = 0; i < kValues; ++i)
      if (lane + i * kWarp < p.E) p.turned[at + lane + i * kWarp] = values[i];
    return;
  }
  const int b = static_cast<int>(position / p.T);
  const int key = p.positions[b] + static_cast<int>(position % p.T);
  // A step that was queued ahead may lie beyond what there are pages for.
  if (key < 0 || key >= p.pages_per_row * kPageKeys) return;
  const PageLayout& layout = p.layout;
  uint8_t* const page = p.table[static_cast<size_t>(b) * p.pages_per_row + key / kPageKeys] +
                        head * layout.head_bytes();
  const int place = key % kPageKeys;
  const size_t at = (position * p.K + head) * p.E;
  float keys[kValues];
  bool finite = true;
  read_turned(p, p.k + at, position, lane, keys);
#pragma unroll
  for (int i = 0; i < kValues; ++i) {
    values[i] = lane + i * kWarp < p.E ? p.v[at + lane + i * kWarp] : 0;
    finite &= is_finite_bf16(values[i]);
  }
  if (p.rounded && !__all_sync(kAllLanes, finite))  // as RoundedRows::marked says
    for (int i = 0; i < kValues; ++i) {
      values[i] = 0;
      if (lane == 0) keys[i] = NAN;
    }
  write_row(layout, keys, lane, page + place * layout.row_bytes(),
            reinterpret_cast<float*>(page + layout.key_scales_at()) + place);
  write_row(layout, values, lane, page + layout.values_at() + place * layout.row_bytes(),
            reinterpret_cast<float*>(page + layout.value_scales_at()) + place);
}

}  // namespace

cudaError_t append_keys(const AttentionArgs& args, const CacheStep& step, const CachePages& pages,
                        float* turned, cudaStream_t stream) {
  const bool turns = step.cos != nullptr;
  const AppendParams p = {static_cast<int>(args.B),
                          static_cast<int>(args.T),
                          static_cast<int>(args.H),
                          static_cast<int>(args.K),
                          static_cast<int>(args.E),
                          static_cast<int>(step.half),
                          static_cast<int>(pages.pages_per_row),
                          args.q.floats(),
                          args.k.floats(),
                          args.v.floats(),
                          step.cos,
                          step.sin,
                          step.positions,
                          pages.layout,
                          pages.table,
                          turns ? turned : nullptr,
                          args.rounded};
  const size_t tasks = args.B * args.T * ((turns ? args.H : 0) + args.K);
  Launch how = {dim3(blocks_of(tasks, kWarps)), dim3(kWarps * kWarp), 0, stream};
  how.early = true;
  return launch(append_kernel, how, p);
}

}  // namespace llmkit::cuda
