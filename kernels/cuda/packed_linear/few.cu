#include "cuda/activation/functions.h"
#include "cuda/base/launch.h"
#include "cuda/packed_linear/products.h"
#include "cuda/packed_linear/tile.h"
#include "cuda/packed_linear/update.h"

// Products of at most 16 rows, bound by reading the weight. A block makes 32 rows of it: its 8
// warps are the 8 slices of the columns, each with a ring of its own that no barrier of the block
// holds up. Of a gate it makes 32 rows, and then the same rows of the layer that it gates: the ring
// goes on from one to the other, and neither sum leaves the block.

namespace llmkit::cuda {
namespace {

constexpr int kWarps = kSlices;
constexpr int kMostBytes = 99 * 1024;  // what every chip has for a block

/// A layer and which 32 of its rows the block makes.
struct Place {
  const LayerArgs* layer;
  int row_tile;
};
__device__ __forceinline__ Place place_of_block(const ForwardArgs& args) {
  int index = 0, tile = static_cast<int>(blockIdx.x);
  while (tile >= args.layers[index].weight.row_tiles) tile -= args.layers[index++].weight.row_tiles;
  return {&args.layers[index], tile};
}

/// Rows of x that are rounded already: those of a tile are copied into the ring beside it.
template <int kBlocks>
struct RoundedX {
  using Rows = SharedRows;
  static constexpr bool kInRing = true;
  static constexpr int kStageBytes = kBlocks * 1024;
  static LLMKIT_HOST_DEVICE int warp_bytes(const ForwardArgs&, const WeightArgs&) { return 0; }

  /// Sets the ring to zero, where rows past m stay.
  __device__ __forceinline__ RoundedX(const ForwardArgs& args, const WeightArgs&, char* ring,
                                      int ring_bytes)
      : args_(args) {
    for (int i = threadIdx.x % kWarp; i < ring_bytes / 16; i += kWarp)
      reinterpret_cast<uint4*>(ring)[i] = make_uint4(0, 0, 0, 0);
    __syncwarp();
  }
  __device__ __forceinline__ void round(int, int) {}
  __device__ __forceinline__ void copy(const WeightArgs& w, int tile, uint32_t stage) const {
    const int lane = threadIdx.x % kWarp, piece = lane & 7;
    const size_t stride = static_cast<size_t>(w.column_tiles) * kTileColumns;
#pragma unroll
    for (int i = 0; i < 2 * kBlocks; ++i) {
      const int row = 4 * i + (lane >> 3);
      if (row < args_.m)
        copy_async(x_address(stage, row, piece),
                   args_.x + row * stride + tile * kTileColumns + piece * 8);
    }
  }
  __device__ __forceinline__ Rows rows(int, uint32_t stage) const { return {stage, 0}; }

 private:
  const ForwardArgs& args_;
};

/// One or two rows of x: each warp rounds those of its slice while the first tiles are on their
/// way.
struct FloatX {
  struct Rows {
    uint32_t x, zero;
    int m;
    __device__ __forceinline__ uint32_t piece(int, int lane, int piece) const {
      return (lane & 7) < m ? x_address(x, lane & 7, piece) : zero + piece * 16;
    }
  };
  static constexpr bool kInRing = false;
  static constexpr int kStageBytes = 0, kZeroBytes = 128;
  static LLMKIT_HOST_DEVICE int warp_bytes(const ForwardArgs& args, const WeightArgs& w) {
    const int per_group = 1 << w.group_shift, groups = (w.column_tiles + per_group - 1) / per_group;
    const int most_tiles = (groups + kSlices - 1) / kSlices * per_group;
    return kZeroBytes + most_tiles * args.m * 128;
  }

  /// The memory of its own follows the ring.
  __device__ __forceinline__ FloatX(const ForwardArgs& args, const WeightArgs&, char* ring,
                                    int ring_bytes)
      : args_(args), memory_(ring + ring_bytes) {}
  __device__ __forceinline__ void round(int begin, int end) {
    const int lane = threadIdx.x % kWarp, cols = args_.cols;
    begin_ = begin;
    reinterpret_cast<uint32_t*>(memory_)[lane] = 0;
    for (int row = 0; row < args_.m; ++row)
      for (int pair = lane; pair < (end - begin) * kTileColumns / 2; pair += kWarp) {
        const int tile = pair / (kTileColumns / 2), in_tile = pair % (kTileColumns / 2);
        const int column = begin * kTileColumns + 2 * pair;
        const float* const x = args_.float_x + static_cast<size_t>(row) * cols + column;
        const uint32_t at = x_address(tile * args_.m * 128, row, in_tile / 4) + in_tile % 4 * 4;
        *reinterpret_cast<uint32_t*>(memory_ + kZeroBytes + at) =
            pack_bf16(column < cols ? x[0] : 0.0f, column + 1 < cols ? x[1] : 0.0f);
      }
    __syncwarp();
  }
  __device__ __forceinline__ void copy(const WeightArgs&, int, uint32_t) const {}
  __device__ __forceinline__ Rows rows(int tile, uint32_t) const {
    const uint32_t zero = shared_address(memory_);
    return {zero + kZeroBytes + (tile - begin_) * args_.m * 128, zero, args_.m};
  }

 private:
  const ForwardArgs& args_;
  char* const memory_;
  int begin_ = 0;
};

template <class Codec, class X>
constexpr int kStageBytes = X::kStageBytes + kTileBytes<Codec> + kGroupSpace<Codec>;

/// Queues the copies of a tile into a stage of the warp's ring.
template <class Codec>
__device__ __forceinline__ void copy_tile(const WeightArgs& w, int row_tile, int tile,
                                          uint32_t codes, uint64_t policy) {
  const int lane = threadIdx.x % kWarp;
  const size_t index = static_cast<size_t>(row_tile) * w.column_tiles + tile;
  const char* const from = w.codes + index * kTileBytes<Codec>;
#pragma unroll
  for (int i = 0; i < kTileBytes<Codec>; i += kWarp * 16)
    copy_async_once(codes + i + lane * 16, from + i + lane * 16, policy);
  if (Codec::kScaled) copy_group_piece(w, row_tile, tile, true, codes + kTileBytes<Codec>, lane);
}

/// The sums of the warp's slice, of each of the layers.
template <class Codec, class X, int kBlocks, int kStages, int kLayers>
__device__ __forceinline__ void multiply_slice(const ForwardArgs& args, const Place& place,
                                               char* shared,
                                               Fragments<kBlocks> (&slices)[kLayers]) {
  constexpr int kStage = kStageBytes<Codec, X>, kRing = kStages * kStage;
  const WeightArgs& w = place.layer->weight;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  char* const memory = shared + Codec::kTableBytes + warp * (kRing + X::warp_bytes(args, w));
  X x(args, w, memory, kRing);
  const uint32_t ring = shared_address(memory), lane_table = shared_address(shared) + lane * 4;
  const int begin = w.slice(warp), end = w.slice(warp + 1), tiles = end - begin;
  const uint64_t policy = evict_first_policy();
  const auto copy = [&](int step) {
    if (step < kLayers * tiles) {
      const int layer = kLayers > 1 && step >= tiles ? 1 : 0, tile = begin + step - layer * tiles;
      const uint32_t stage = ring + step % kStages * kStage;
      copy_tile<Codec>(place.layer[layer].weight, place.row_tile, tile, stage + X::kStageBytes,
                       policy);
      x.copy(w, tile, stage);
    }
    commit_copies();
  };
  // The weight is nothing that the kernel before this one makes: its first tiles need not wait.
  if (X::kInRing) wait_for_inputs();
  for (int i = 0; i < kStages - 1; ++i) copy(i);
  if (!X::kInRing) wait_for_inputs();
  let_next_begin();
  x.round(begin, end);
  Codec::fill(shared, w.values);
  __syncthreads();

  Fragments<kBlocks> chain;
  set_zero<kBlocks>(chain);
#pragma unroll
  for (int layer = 0; layer < kLayers; ++layer) {
    const WeightArgs& of = place.layer[layer].weight;
    for (int tile = begin; tile < end; ++tile) {
      wait_copies<kStages - 2>();
      __syncwarp();
      const int step = layer * tiles + tile - begin;
      const uint32_t stage = ring + step % kStages * kStage;
      const uint32_t codes = stage + X::kStageBytes;
      copy(step + kStages - 1);
      const SharedTile<typename X::Rows> at = {codes, codes + kTileBytes<Codec>,
                                               x.rows(tile, stage)};
      multiply_tile<Codec, kBlocks>(of, at, of.ends_group(tile), lane_table, chain, slices[layer]);
    }
  }
  wait_copies<0>();
}

/// Writes a warp's sums to its [8 * kBlocks, 32] of shared memory.
template <int kBlocks>
__device__ __forceinline__ void keep(float* sums, const Fragments<kBlocks>& slice) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int b = 0; b < 2; ++b)
#pragma unroll
    for (int block = 0; block < kBlocks; ++block)
#pragma unroll
      for (int c = 0; c < 4; ++c)
        sums[(8 * block + 2 * (lane & 3) + (c & 1)) * kTileRows +
             chunk_row(lane >> 2, 2 * b + (c >> 1))] = slice[b][block][c];
}

/// The update's sums, made by one warp.
template <int kBlocks>
__device__ __forceinline__ void add_update(const LayerArgs& layer, int row, int m,
                                           Fragments<kBlocks>& sums) {
  const int P = threadIdx.x % kWarp >> 2;
#pragma unroll
  for (int b = 0; b < 2; ++b)
    multiply_update<kBlocks>(layer.update, row + chunk_row(P, 2 * b), row + chunk_row(P, 2 * b + 1),
                             layer.weight.rows, 0, m, sums[b]);
}

/// Sums of a layer in shared memory: those of the slices and of the update, [9, 8 * kBlocks, 32].
template <int kBlocks>
constexpr int kSliceSums = 8 * kBlocks* kTileRows;
template <int kBlocks>
constexpr int kLayerSums = (kSlices + 1) * kSliceSums<kBlocks>;

/// The result of a layer in its row n, y's element `index`, from its sums at one place.
template <int kBlocks>
__device__ __forceinline__ float result(const LayerArgs& layer, const float* sums, int n,
                                        size_t index) {
  float sum = 0;
#pragma unroll
  for (int s = 0; s < kSlices; ++s) sum += sums[s * kSliceSums<kBlocks>];
  if (layer.update.rank > 0) sum += sums[kSlices * kSliceSums<kBlocks>];
  return finish(layer, sum, n, index);
}

template <class Codec, class X, int kBlocks, int kStages, int kLayers>
__global__ void __launch_bounds__(kWarps* kWarp, 2)
    multiply(const __grid_constant__ ForwardArgs args) {
  char* const shared = dynamic_shared();
  const Place place = place_of_block(args);
  const int warp = threadIdx.x / kWarp, row = place.row_tile * kTileRows;
  Fragments<kBlocks> slices[kLayers];
#pragma unroll
  for (int i = 0; i < kLayers; ++i) set_zero<kBlocks>(slices[i]);
  multiply_slice<Codec, X, kBlocks, kStages, kLayers>(args, place, shared, slices);
  __syncthreads();
  float* const sums = reinterpret_cast<float*>(shared + Codec::kTableBytes);
#pragma unroll
  for (int i = 0; i < kLayers; ++i) {
    keep<kBlocks>(sums + i * kLayerSums<kBlocks> + warp * kSliceSums<kBlocks>, slices[i]);
    if (warp != i || place.layer[i].update.rank == 0) continue;
    set_zero<kBlocks>(slices[i]);
    add_update<kBlocks>(place.layer[i], row, args.m, slices[i]);
    keep<kBlocks>(sums + i * kLayerSums<kBlocks> + kSlices * kSliceSums<kBlocks>, slices[i]);
  }
  __syncthreads();
  const LayerArgs& layer = *place.layer;
  for (int i = threadIdx.x; i < args.m * kTileRows; i += blockDim.x) {
    const int n = row + i % kTileRows;
    if (n >= layer.weight.rows) continue;
    const size_t index = static_cast<size_t>(i / kTileRows) * layer.weight.rows + n;
    float value = result<kBlocks>(layer, sums + i, n, index);
    if (layer.ending != Ending::kSums) value = activate(layer.f, value);
    if (kLayers > 1)
      value *= result<kBlocks>(place.layer[1], sums + kLayerSums<kBlocks> + i, n, index);
    store_element(layer.y, index, value);
    if (layer.rounded != nullptr) layer.rounded[index] = __float2bfloat16_rn(value);
  }
}

/// Shared memory of a block: the most that one of the layers needs.
template <class Codec, class X, int kBlocks, int kStages>
int block_bytes(const ForwardArgs& args) {
  constexpr int kRing = kStages * kStageBytes<Codec, X>;
  static_assert(kWarps * kRing >= 2 * kLayerSums<kBlocks> * 4,
                "the sums take the place of the ring");
  int most = 0;
  for (int i = 0; i < args.count; ++i) {
    const int bytes = kRing + X::warp_bytes(args, args.layers[i].weight);
    most = bytes > most ? bytes : most;
  }
  return Codec::kTableBytes + kWarps * most;
}

template <class Codec, class X, int kBlocks, int kStages, int kLayers>
cudaError_t launch_layers(const ForwardArgs& args, cudaStream_t stream) {
  static_assert(Codec::kTableBytes + kWarps * kStages * kStageBytes<Codec, X> <= kMostBytes);
  const size_t bytes = block_bytes<Codec, X, kBlocks, kStages>(args);
  unsigned tiles = 0;
  for (int i = 0; i < args.count; ++i) tiles += args.layers[i].weight.row_tiles;
  Launch blocks = {tiles, kWarps * kWarp, bytes, stream};
  blocks.early = true;
  return launch(multiply<Codec, X, kBlocks, kStages, kLayers>, blocks, args);
}

template <class Codec, class X, int kBlocks, int kStages>
cudaError_t launch_multiply(const ForwardArgs& args, cudaStream_t stream) {
  return args.gates() ? launch_layers<Codec, X, kBlocks, kStages, 2>(args, stream)
                      : launch_layers<Codec, X, kBlocks, kStages, 1>(args, stream);
}

/// The kernels of a codec: how deep their rings are.
template <class Codec_, int kOfFloats, int kOfEight, int kOfSixteen>
struct Kernels {
  using Codec = Codec_;
  static bool takes_floats(const ForwardArgs& args) {
    return args.m <= kFewestRows && block_bytes<Codec, FloatX, 1, kOfFloats>(args) <= kMostBytes;
  }
  static cudaError_t multiply(const ForwardArgs& args, cudaStream_t stream) {
    if (args.x == nullptr) return launch_multiply<Codec, FloatX, 1, kOfFloats>(args, stream);
    return args.m <= 8 ? launch_multiply<Codec, RoundedX<1>, 1, kOfEight>(args, stream)
                       : launch_multiply<Codec, RoundedX<2>, 2, kOfSixteen>(args, stream);
  }
};

template <class Use>
auto with_kernels(PackedCode code, const Use& use) {
  switch (code) {
    case PackedCode::kInt4:
      return use(Kernels<Int4Codec, 6, 4, 3>());
    case PackedCode::kTable:
      return use(Kernels<TableCodec, 4, 3, 2>());
    case PackedCode::kInt8:
      return use(Kernels<Int8Codec, 4, 3, 2>());
    default:
      return use(Kernels<Bf16Codec, 2, 2, 2>());
  }
}

}  // namespace

bool takes_floats(const ForwardArgs& args, PackedCode code) {
  return with_kernels(code, [&](auto kernels) { return decltype(kernels)::takes_floats(args); });
}

cudaError_t multiply_few(const ForwardArgs& args, PackedCode code, cudaStream_t stream) {
  return with_kernels(code,
                      [&](auto kernels) { return decltype(kernels)::multiply(args, stream); });
}

}  // namespace llmkit::cuda
