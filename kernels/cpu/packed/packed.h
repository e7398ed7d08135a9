#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "base/elements.h"
#include "base/packed_weight.h"
#include "cpu/activation/activation.h"
#include "cpu/gemm/low_rank.h"

namespace llmkit {

/// Packs a weight with all threads, and lets go of the pages of a mapped file that it has read.
/// compute is kBf16 or kInt8; kInt8 of a format that is not int4 or int8 becomes kBf16. Groups that
/// do not begin at rows (bitsandbytes, cols not a multiple of the block), of less than 8 columns,
/// or of more than 128 without a divisor from 32 to 128, are decoded and packed as kSixteenBit.
/// data is null when there is no memory.
PackedWeight pack_weight(const WeightView& view, Compute compute);

/// Whether a weight stored in this format can be read row by row from its packed form: it has the
/// same values to the last bit. What was rounded when it was packed has not.
bool keeps_values(const PackedWeight& weight, WeightFormat stored);

/// y [count, cols] = rows ids of such a weight in float32, the bits of dequantize_rows. All
/// threads.
void packed_rows(const PackedWeight& weight, WeightFormat stored, size_t count, const int32_t* ids,
                 float* y);

/// Rows of x in the form a product wants, in memory of the caller's thread (valid until its next
/// call). The shapes are those of kernels with a row_block of 1; blocks have theirs in their files.
struct PreparedRows {
  size_t m = 0;
  size_t stride = 0;              // elements of a row: padded_cols() of the kernels
  const void* values = nullptr;   // [m, stride]; kInt8: int8; kBf16: bf16 bits, or the same values
                                  // in float32 where the kernels multiply float32
  const float* scales = nullptr;  // kInt8: [m, groups]: x is about values * scale
  const int32_t* starts = nullptr;  // kInt8: [m, groups], minus the sums of values; times 8 (4-bit
                                    // codes) or 128 where the weight has no zero points of its own
  const float* totals = nullptr;    // kBf16 with zero points: [m, groups], the sums of values
};
/// What else is made of rows [first, first + count) of x, on the thread that has just prepared them
/// and has them in its cache.
using WithRows = std::function<void(const PreparedRows& rows, size_t first, size_t count)>;
/// With all threads. kFourBit in bf16 bits: each 8 columns in the order 0 2 4 6 1 3 5 7, the pairs
/// that one shift and one table lookup of a line give.
PreparedRows prepare_rows(const PackedWeight& weight, size_t m, const ConstElements& x, size_t ldx,
                          const WithRows& with_rows = nullptr);

/// A LowRank sum as kernels that multiply in tiles want it: of bf16 parts (cpu/split), of which
/// `high` holds those of its transpose side by side and `low` those of its rows.
struct LowRankParts {
  PackedWeight high;  // [rows of the weight, 3 * split_width(rank)]
  PreparedRows low;
};

/// The arithmetic of kInt8, the same bits on every instruction set that has a fused multiply-add:
/// c = sum over a group of (code - zero) * value in int32, acc = fma(c, weight scale * row scale,
/// acc), groups ascending from 0, then + bias.
///
/// y[m, r] = sum over k of x[m, k] w[r, k] + bias[r], for rows [tile * 16, (tile + tiles) * 16) of
/// the weight and rows [first, first + count) of x, on the calling thread. y is that of row `first`
/// and row tile * 16 of the weight, bias that of row 0. An output has the same bits whatever count,
/// first, tile and tiles.
struct PackedRange {
  size_t first, count;
  size_t tile, tiles;
};
void packed_product(const PackedWeight& weight, const PreparedRows& x, const PackedRange& range,
                    const float* bias, float* y, size_t ldy);

/// A weight to multiply with: y [m, rows] = x [m, cols] · weightᵀ + bias; `update`, if any, is
/// added block by block, before y is rounded where it is bf16.
struct PackedLayer {
  const PackedWeight* weight;
  const float* bias;  // may be null
  Elements y;
  const LowRank* update = nullptr;
};

/// The products of the same rows x with `count` weights of the same cols, with all threads. Weights
/// that follow each other and want x in the same form share its preparation and one loop.
void packed_linears(const PackedLayer* layers, size_t count, size_t m, const ConstElements& x);

/// The product with one weight.
inline void packed_linear(const PackedWeight& weight, size_t m, const ConstElements& x,
                          const float* bias, const Elements& y, const LowRank* update = nullptr) {
  const PackedLayer layer = {&weight, bias, y, update};
  packed_linears(&layer, 1, m, x);
}

/// y = f(gate) · up of the products of both layers, whose sizes are the same: the bits of
/// gated_mlp() of both. gate.y is y; up.y, of the same size, may hold anything afterwards. No
/// updates, y is float32.
void packed_gated(Activation f, const PackedLayer& gate, const PackedLayer& up, size_t m,
                  const ConstElements& x);

/// The product of rows that are prepared already.
void packed_multiply(const PackedLayer& layer, const PreparedRows& rows);

/// A pair of low rank beside the whole weight, as in cpu/lora_linear: what it was multiplied with,
/// and its gradients. Its products are made within the passes over dy, in bf16: x and dy rounded,
/// the small factors in two parts (cpu/split).
struct PackedGradPair {
  size_t rank;
  float scale;
  const float* a;    // [rank, cols]
  const float* b;    // [rows, rank]
  ConstElements x;   // [m, cols]
  const float* low;  // [m, rank] = scale · x · aᵀ
  float* da;
  float* db;
  float* dx;  // [m, cols]: of the pair alone; null: added to dx of the weight
};

/// dx [m, cols] (+)= dy [m, tiles * 16] · rows [tile * 16, (tile + tiles) * 16) of the weight, with
/// all threads, in bf16: dy and code * scale rounded to bf16, float32 sums, rows of the weight
/// ascending. A row's bits do not depend on m.
struct PackedGradArgs {
  size_t m;
  ConstElements dy;
  size_t lddy;
  size_t tile, tiles;
  float* dx;  // rows of cols
  bool accumulate;
  const PackedGradPair* pair = nullptr;
};
void packed_grad_input(const PackedWeight& weight, const PackedGradArgs& args);

/// The best instruction set of this machine with kernels of a packed compute type: `avx512_vnni`.
const char* packed_isa(Compute compute);

}  // namespace llmkit
