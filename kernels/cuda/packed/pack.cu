#include "cuda/base/launch.h"
#include "cuda/packed/packed.h"
#include "cuda/packed/stored_weight.h"

namespace llmkit::cuda {
namespace {

constexpr unsigned kThreads = 256;

struct PackArgs {
  WeightView view;
  PackedWeight weight;
  float table[16];
};

__device__ size_t thread_index() {
  return static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__device__ uint32_t bf16_bits(float value) {
  const bf16 rounded = __float2bfloat16_rn(value);
  uint16_t bits;
  memcpy(&bits, &rounded, sizeof bits);
  return bits;
}

__device__ float bf16_value(uint16_t bits) {
  bf16 value;
  memcpy(&value, &bits, sizeof bits);
  return __bfloat162float(value);
}

/// The bits of an element; those of the padding stand for 0 or a finite value.
__device__ uint32_t packed_bits(const PackArgs& args, size_t row, size_t column) {
  const WeightView& view = args.view;
  if (row >= view.rows || column >= view.cols) return 0;
  const size_t element = row * view.cols + column;
  if (args.weight.code == PackedCode::kBf16)
    return bf16_bits(stored_value(view, args.table, element));
  return stored_code(view, element);
}

/// A thread makes one word: it looks up which elements packed_place sends there.
__global__ void pack_codes(const PackArgs args, size_t words) {
  const size_t index = thread_index();
  if (index >= words) return;
  const PackedWeight& w = args.weight;
  const size_t plane = index / 256, tile = plane / planes_of(w.code);
  const int chunk = chunk_in_slot(static_cast<int>(index % 256) / 4);
  const size_t row = tile / w.column_tiles() * kTileRows;
  const size_t column = tile % w.column_tiles() * kTileColumns;
  uint32_t word = 0;
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 8; ++j) {
      const ChunkPlace place = place_in_chunk(w.code, i, j);
      if (place.word != static_cast<int>(index % 4) ||
          place.plane != static_cast<int>(plane % planes_of(w.code)))
        continue;
      word |= packed_bits(args, row + chunk_row(chunk >> 3, i), column + chunk_column(chunk & 7, j))
              << place.bit;
    }
  static_cast<uint32_t*>(const_cast<void*>(w.codes))[index] = word;
}

__device__ void store_scale(const PackedWeight& w, size_t index, float scale) {
  void* const scales = const_cast<void*>(w.scales);
  if (w.scale_type == ScaleType::kF32) static_cast<float*>(scales)[index] = scale;
  if (w.scale_type == ScaleType::kF16) static_cast<__half*>(scales)[index] = __float2half_rn(scale);
  if (w.scale_type == ScaleType::kBf16)
    static_cast<bf16*>(scales)[index] = __float2bfloat16_rn(scale);
}

/// A thread makes the scale and the zero point of one group of one row.
__global__ void pack_scales(const PackArgs args, size_t count) {
  const size_t index = thread_index();
  if (index >= count) return;
  const PackedWeight& w = args.weight;
  const size_t row = index / w.groups(), group = index % w.groups(), column = group * w.group;
  const size_t place = (row / kTileRows * w.groups() + group) * kTileRows +
                       scale_slot(static_cast<int>(row % kTileRows));
  const bool real = row < w.rows && column < w.cols;
  const size_t stored = real ? (row * w.cols + column) / args.view.group_size : 0;
  store_scale(w, place, real ? stored_scale(args.view, stored) : 0);
  if (w.zeros != nullptr)
    const_cast<uint8_t*>(w.zeros)[place] =
        static_cast<uint8_t>(real ? stored_zero(args.view, stored) : 0);
}

/// Does nothing, but after a packing: a product may begin early and read its weight while the
/// kernel just before it ends, so that must not be the one that makes the weight.
__global__ void follow_packing() {}

/// What a product multiplies by the scale.
__device__ float unscaled_value(const PackedWeight& w, size_t row, size_t column, int zero) {
  const PackedPlace place = packed_place(w.code, row, column, w.column_tiles());
  const uint32_t bits = static_cast<const uint32_t*>(w.codes)[place.word] >> place.bit;
  if (w.code == PackedCode::kBf16) return bf16_value(static_cast<uint16_t>(bits));
  if (w.code == PackedCode::kTable) return bf16_value(w.values[bits & 15u]);
  const unsigned mask = w.code == PackedCode::kInt8 ? 255u : 15u;
  return static_cast<float>(static_cast<int>(bits & mask) - zero);
}

__device__ float load_scale(const PackedWeight& w, size_t index) {
  if (w.scale_type == ScaleType::kF32) return static_cast<const float*>(w.scales)[index];
  if (w.scale_type == ScaleType::kF16)
    return __half2float(static_cast<const __half*>(w.scales)[index]);
  return __bfloat162float(static_cast<const bf16*>(w.scales)[index]);
}

__device__ float unpacked_value(const PackedWeight& w, size_t row, size_t column) {
  if (w.code == PackedCode::kBf16) return unscaled_value(w, row, column, 0);
  const size_t index = (row / kTileRows * w.groups() + column / w.group) * kTileRows +
                       scale_slot(static_cast<int>(row % kTileRows));
  const int usual = w.code == PackedCode::kInt8 ? 128 : 8;
  const int zero = w.zeros != nullptr ? w.zeros[index] : usual;
  return unscaled_value(w, row, column, zero) * load_scale(w, index);
}

__global__ void unpack(const PackedWeight weight, float* y, size_t count) {
  const size_t index = thread_index();
  if (index >= count) return;
  y[index] = unpacked_value(weight, index / weight.cols, index % weight.cols);
}

}  // namespace

cudaError_t pack_weight(const WeightView& view, const PackedWeight& weight, cudaStream_t stream) {
  PackArgs args = {view, weight, {}};
  const float* const table = view.format == WeightFormat::kFp4 ? kFp4Values : kNf4Values;
  for (int i = 0; i < 16; ++i) args.table[i] = table[i];
  const size_t words =
      weight.row_tiles() * weight.column_tiles() * planes_of(weight.code) * (kPlaneBytes / 4);
  cudaError_t error =
      launch(pack_codes, {blocks_of(words, kThreads), kThreads, 0, stream}, args, words);
  if (error == cudaSuccess && weight.scale_type != ScaleType::kNone) {
    const size_t scales = weight.row_tiles() * kTileRows * weight.groups();
    error = launch(pack_scales, {blocks_of(scales, kThreads), kThreads, 0, stream}, args, scales);
  }
  if (error != cudaSuccess) return error;
  return launch(follow_packing, {1, 1, 0, stream});
}

cudaError_t unpack_weight(const PackedWeight& weight, float* y, cudaStream_t stream) {
  const size_t count = weight.rows * weight.cols;
  return launch(unpack, {blocks_of(count, kThreads), kThreads, 0, stream}, weight, y, count);
}

}  // namespace llmkit::cuda
