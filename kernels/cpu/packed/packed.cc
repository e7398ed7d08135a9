#include "cpu/packed/packed.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/cpu_features.h"
#include "base/parallel.h"
#include "base/scratch.h"
#include "cpu/elements/elements.h"
#include "cpu/packed/kernels.h"
#include "cpu/packed/read_ahead.h"
#include "cpu/packed_dequantized/packed_dequantized.h"

namespace llmkit {
namespace {

/// Rows of x that a task takes at least, when there are few tiles for the threads.
constexpr size_t kRowsPerTask = 96;

/// Bytes of y from which on it is written past the caches: half of it would be gone from them
/// before it is read.
constexpr size_t kPastCaches = size_t{4} << 20;

size_t divide_up(size_t a, size_t b) { return (a + b - 1) / b; }
size_t floats_of(size_t bytes) { return divide_up(bytes, 64) * 16; }

/// How a product with some layers is cut: blocks of tiles of each layer times chunks of rows.
/// Consecutive tasks are consecutive tiles, so that a thread reads one stream.
struct Split {
  size_t block, blocks, rows, chunks;
  bool few;  // rows, so that reading the weight takes the time
};

size_t blocks_of(const PackedWeight& weight, size_t block) {
  return divide_up(weight.tiles, block);
}

Split split_of(const PackedLayer* layers, size_t count, const PackedKernels& kernels, size_t m) {
  const bool few = m <= kernels.few_rows;
  const size_t block = few ? kernels.few_tiles : kernels.block_tiles;
  size_t blocks = 0;
  for (size_t i = 0; i < count; ++i) blocks += blocks_of(*layers[i].weight, block);
  if (few || blocks == 0) return {block, blocks, m, 1, few};
  const size_t wanted = divide_up(4 * thread_count(), blocks);
  const size_t unit = std::lcm(size_t{32}, kernels.row_block);
  const size_t least = std::max(divide_up(divide_up(m, wanted), unit) * unit, kRowsPerTask);
  const size_t most = kernels.cached_rows == 0 ? m : std::min(m, kernels.cached_rows);
  const size_t rows = std::min(least, most);
  return {block, blocks, rows, divide_up(m, rows), few};
}

/// Operations of a task, of which grain_for expects 20 in a nanosecond: the bytes that it reads, or
/// its products at 20 times that rate.
size_t work_of(const PackedWeight& weight, const Split& split) {
  const size_t products = 16 * split.block * weight.padded_cols() * split.rows;
  return std::max(split.block * weight.tile_bytes, products / 10);
}

}  // namespace

const PackedKernels& packed_kernels(const PackedWeight& weight, size_t m) {
  if (is_dequantized(weight)) return packed_kernels(dequantized_form(weight), m);
#define PACKED_KERNELS(compute_type, isa, name)           \
  if (weight.compute == compute_type && runs_here(isa) && \
      (name.takes == nullptr || name.takes(weight, m)))   \
    return name;
#include "cpu/packed/kernels.inc"
#undef PACKED_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

const char* packed_isa(Compute compute) {
  // What follows the compute type in the kernels' names.
#define PACKED_KERNELS(compute_type, isa, name)  \
  if (compute == compute_type && runs_here(isa)) \
    return std::strchr(#name + sizeof "packed", '_') + 1;
#include "cpu/packed/kernels.inc"
#undef PACKED_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

namespace {

/// Rows of x at a time of which something else is made: they stay in the second-level cache.
constexpr size_t kRowsAtOnce = 32;

/// Rows on their way into the form of PreparedRows; the pointers are those of row 0.
struct Preparation {
  const PackedWeight& weight;
  const PackedKernels& kernels;
  ConstElements x;
  size_t ldx;
  uint8_t* values;
  float *scales, *totals;
  int32_t* starts;

  /// Rows [first, first + count), `first` being the first of a block. What is bf16 becomes float32
  /// a block at a time, unless the kernels take it.
  void prepare(size_t first, size_t count) const {
    const bool widens = x.is_bf16 && !kernels.takes_halves;
    const size_t step = widens ? kernels.row_block : count;
    float* const buffer = scratch(Scratch::kWidened, widens ? step * weight.cols : 0);
    for (size_t row = first; row < first + count; row += step)
      prepare_block(row, std::min(step, first + count - row), buffer);
  }

 private:
  void prepare_block(size_t row, size_t count, float* buffer) const {
    const size_t group = row * weight.groups;
    const ConstElements from = x.from(row * ldx);
    const bool as_halves = x.is_bf16 && kernels.takes_halves;
    const FloatRows floats =
        as_halves ? FloatRows{nullptr, ldx} : widened_rows(from, count, weight.cols, ldx, buffer);
    kernels.prepare(
        weight,
        {count, floats.values, floats.ld,
         values + row * kernels.padded_cols(weight) * kernels.value_bytes,
         scales == nullptr ? nullptr : scales + group, starts == nullptr ? nullptr : starts + group,
         totals == nullptr ? nullptr : totals + group, as_halves ? from.halves() : nullptr});
  }
};

/// body(row, count) of rows [row, row + count), a few at a time, with all threads.
template <typename Body>
void each_few_rows(size_t m, size_t work, const Body& body) {
  parallel_for(divide_up(m, kRowsAtOnce), grain_for(work), [&](size_t first, size_t last) {
    for (size_t i = first; i < last; ++i)
      body(i * kRowsAtOnce, std::min(kRowsAtOnce, m - i * kRowsAtOnce));
  });
}

}  // namespace

PreparedRows prepare_rows(const PackedWeight& weight, size_t m, const ConstElements& x, size_t ldx,
                          const WithRows& with_rows) {
  if (is_dequantized(weight)) return prepare_rows(dequantized_form(weight), m, x, ldx, with_rows);
  const bool integers = weight.compute == Compute::kInt8;
  const bool totals = !integers && weight.has_zeros;
  const PackedKernels& kernels = packed_kernels(weight, m);
  const size_t stride = kernels.padded_cols(weight), block = kernels.row_block;
  if (kernels.plain_halves && weight.code == PackedCode::kSixteenBit && x.is_bf16 &&
      weight.cols == stride && ldx == stride) {
    const PreparedRows rows = {m, stride, x.halves(), nullptr, nullptr, nullptr};
    if (with_rows != nullptr)
      each_few_rows(m, 8 * stride * kRowsAtOnce,
                    [&](size_t row, size_t count) { with_rows(rows, row, count); });
    return rows;
  }
  const size_t blocks = divide_up(m, block), all = blocks * block;
  const size_t values_size = floats_of(all * stride * kernels.value_bytes);
  const size_t groups_size =
      integers || totals ? floats_of(all * weight.groups * sizeof(float)) : 0;
  float* const values = scratch(Scratch::kPrepared, values_size + 2 * groups_size);
  float* const factors = values + values_size;
  int32_t* const starts = reinterpret_cast<int32_t*>(factors + groups_size);
  const Preparation preparation = {weight,
                                   kernels,
                                   x,
                                   ldx,
                                   reinterpret_cast<uint8_t*>(values),
                                   integers ? factors : nullptr,
                                   totals ? factors : nullptr,
                                   integers ? starts : nullptr};
  const PreparedRows rows = {
      m, stride, values, preparation.scales, preparation.starts, preparation.totals};
  parallel_for(blocks, grain_for(8 * stride * block), [&](size_t first, size_t last) {
    const size_t end = std::min(last * block, m);
    const size_t step = with_rows == nullptr ? end : kRowsAtOnce / block * block;
    for (size_t row = first * block; row < end; row += step) {
      const size_t count = std::min(step, end - row);
      preparation.prepare(row, count);
      if (with_rows != nullptr) with_rows(rows, row, count);
    }
  });
  return rows;
}

namespace {

void run_product(const PackedWeight& weight, const PackedProductArgs& args);

/// Some tiles at a time, which are made on this thread.
void run_dequantized(const PackedWeight& weight, const PackedProductArgs& args) {
  const size_t first = args.range.tile, end = first + args.range.tiles;
  const size_t step = dequantized_at_once(weight);
  for (size_t tile = first; tile < end; tile += step) {
    PackedProductArgs part = args;
    part.range.tile = tile;
    part.range.tiles = std::min(step, end - tile);
    part.y += (tile - first) * 16;
    run_product(dequantize_tiles(weight, tile, part.range.tiles), part);
  }
}

void run_product(const PackedWeight& weight, const PackedProductArgs& args) {
  const PackedKernels& kernels = packed_kernels(weight, args.x.m);
  if (is_dequantized(weight) && !kernels.dequantizes) return run_dequantized(weight, args);
  const PackedRange& range = args.range;
  (range.count <= kernels.few_rows ? kernels.few : kernels.many)(weight, args);
  if (args.update == nullptr || kernels.cached_rows > 0) return;
  const size_t col = range.tile * 16, cols = std::min(range.tiles * 16, weight.rows - col);
  const LowRankBlock block = {range.first, range.count, col, cols, args.y, args.ldy};
  if (args.update->parts != nullptr)
    kernels.low_rank->add(*args.update->parts, block);
  else
    add_low_rank(*args.update, block);
}

}  // namespace

void packed_product(const PackedWeight& weight, const PreparedRows& x, const PackedRange& range,
                    const float* bias, float* y, size_t ldy) {
  run_product(weight, {x, range, bias, y, ldy});
}

namespace {

/// Whether products of m rows with both weights want the rows in the same form.
bool prepared_alike(const PackedWeight& a, const PackedWeight& b, size_t m) {
  return a.compute == b.compute && a.code == b.code && a.has_zeros == b.has_zeros &&
         a.cols == b.cols && a.group == b.group && a.group_stride == b.group_stride &&
         &packed_kernels(a, m) == &packed_kernels(b, m);
}

/// A product whose y is float32 or bf16.
void write_product(const PackedWeight& weight, PackedProductArgs args, const Elements& y) {
  if (!y.is_bf16) {
    args.y = y.floats();
    return run_product(weight, args);
  }
  if (packed_kernels(weight, args.x.m).cached_rows > 0) {
    args.halves = y.halves();
    return run_product(weight, args);
  }
  const size_t ldy = args.ldy, rows = args.range.count;
  args.ldy = std::min(args.range.tiles * 16, weight.rows - args.range.tile * 16);
  args.y = scratch(Scratch::kResults, rows * args.ldy);
  run_product(weight, args);
  for (size_t row = 0; row < rows; ++row)
    narrow(args.ldy, args.y + row * args.ldy, y.halves() + row * ldy);
}

/// `count` blocks of a layer from `block` on, for one chunk of rows from `first` on.
void multiply_blocks(const PackedLayer& layer, const PreparedRows& rows, const Split& split,
                     size_t first, size_t block, size_t count) {
  const PackedWeight& weight = *layer.weight;
  const size_t tile = block * split.block, col = tile * 16;
  const size_t tiles = std::min(count * split.block, weight.tiles - tile);
  if (split.few) begin_reading(weight.tile(tile), (weight.tiles - tile) * weight.tile_bytes);
  const PackedRange range = {first, std::min(split.rows, rows.m - first), tile, tiles};
  const Elements y = layer.y.from(first * weight.rows + col);
  const size_t value_bytes = y.is_bf16 ? sizeof(uint16_t) : sizeof(float);
  const bool past_caches = rows.m * weight.rows * value_bytes >= kPastCaches;
  const PackedProductArgs args = {rows,        range,        layer.bias, nullptr,
                                  weight.rows, layer.update, past_caches};
  write_product(weight, args, y);
}

/// The products with layers that want x in the form that it is prepared in.
void multiply_alike(const PackedLayer* layers, size_t count, const PreparedRows& rows) {
  const PackedWeight& weight = *layers[0].weight;
  const PackedKernels& kernels = packed_kernels(weight, rows.m);
  const Split split = split_of(layers, count, kernels, rows.m);
  if (split.blocks == 0) return;
  parallel_for(split.blocks * split.chunks, grain_for(work_of(weight, split)),
               [&](size_t begin, size_t end) {
                 while (begin < end) {
                   const PackedLayer* layer = layers;
                   size_t block = begin % split.blocks, all;
                   for (; block >= (all = blocks_of(*layer->weight, split.block)); ++layer)
                     block -= all;
                   // What is added or rounded afterwards is still in the cache: few rows, or one
                   // block of many.
                   const bool again = layer->update != nullptr || layer->y.is_bf16;
                   const bool one = again && kernels.cached_rows == 0 && !split.few;
                   const size_t taken = one ? 1 : std::min(end - begin, all - block);
                   multiply_blocks(*layer, rows, split, begin / split.blocks * split.rows, block,
                                   taken);
                   begin += taken;
                 }
               });
}

/// Columns of both products of a gated unit that are made before they are put together: with all
/// rows of a task they stay in the second-level cache.
constexpr size_t kGatedTiles = 4;

/// As multiply_blocks, of both layers: y = f(gate) · up.
void multiply_gated(Activation f, const PackedLayer& gate, const PackedLayer& up,
                    const PreparedRows& rows, const PackedRange& range) {
  const size_t col = range.tile * 16, cols = std::min(range.tiles * 16, gate.weight->rows - col);
  float* const gates = scratch(Scratch::kResults, 2 * range.count * cols);
  float* const ups = gates + range.count * cols;
  run_product(*gate.weight, {rows, range, gate.bias, gates, cols});
  run_product(*up.weight, {rows, range, up.bias, ups, cols});
  float* const y = gate.y.floats() + range.first * gate.weight->rows + col;
  for (size_t row = 0; row < range.count; ++row)
    activation_kernels().gated[static_cast<size_t>(f)](cols, gates + row * cols, ups + row * cols,
                                                       y + row * gate.weight->rows);
}

}  // namespace

void packed_gated(Activation f, const PackedLayer& gate, const PackedLayer& up, size_t m,
                  const ConstElements& x) {
  if (m == 0) return;
  const PackedWeight& weight = *gate.weight;
  const PackedKernels& kernels = packed_kernels(weight, m);
  if (m <= kernels.few_rows || !prepared_alike(weight, *up.weight, m)) {
    const PackedLayer layers[] = {gate, up};
    packed_linears(layers, 2, m, x);
    return gated_mlp(f, m * weight.rows, gate.y.floats(), up.y.floats(), gate.y);
  }
  const PreparedRows rows = prepare_rows(weight, m, x, weight.cols);
  Split split = split_of(&gate, 1, kernels, m);
  split.block = std::max(split.block, kGatedTiles);
  split.blocks = blocks_of(weight, split.block);
  parallel_for(split.blocks * split.chunks, 1, [&](size_t begin, size_t end) {
    for (; begin < end; ++begin) {
      const size_t first = begin / split.blocks * split.rows;
      const size_t tile = begin % split.blocks * split.block;
      multiply_gated(f, gate, up, rows,
                     {first, std::min(split.rows, m - first), tile,
                      std::min(split.block, weight.tiles - tile)});
    }
  });
}

void packed_linears(const PackedLayer* layers, size_t count, size_t m, const ConstElements& x) {
  if (m == 0) return;
  for (size_t begin = 0, end; begin < count; begin = end) {
    const PackedWeight& first = *layers[begin].weight;
    end = begin + 1;
    while (end < count && prepared_alike(first, *layers[end].weight, m)) ++end;
    multiply_alike(layers + begin, end - begin, prepare_rows(first, m, x, first.cols));
  }
}

void packed_multiply(const PackedLayer& layer, const PreparedRows& rows) {
  if (rows.m > 0) multiply_alike(&layer, 1, rows);
}

}  // namespace llmkit
