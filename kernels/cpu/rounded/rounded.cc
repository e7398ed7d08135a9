#include "cpu/rounded/rounded.h"

#include <algorithm>

#include "base/cpu_features.h"
#include "base/parallel.h"
#include "base/scratch.h"
#include "cpu/packed/kernels.h"
#include "cpu/packed/layout.h"

namespace llmkit {
namespace {

const RoundedKernels& kernels() {
#define ROUNDED_KERNELS(isa, name) \
  if (runs_here(isa)) return name;
#include "cpu/rounded/kernels.inc"
#undef ROUNDED_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

/// Rows of a tile; columns that are read side by side, for each is 64 bytes of a row.
constexpr size_t kTileRows = 16, kStrip = 64;
/// Operations for a value that is rounded and moved, as grain_for counts them.
constexpr size_t kWork = 8;

size_t divide_up(size_t a, size_t b) { return (a + b - 1) / b; }

/// The packed form of a [rows, cols] matrix of bf16 values, in a slot of this thread.
PackedWeight plan(size_t rows, size_t cols, Scratch slot) {
  PackedForm form;
  form.rows = rows;
  form.cols = cols;
  PackedWeight w = *packed_layout(form);
  w.data = reinterpret_cast<uint8_t*>(scratch(slot, w.size_bytes() / sizeof(float)));
  return w;
}

uint8_t* tile_of(const PackedWeight& w, size_t tile) { return const_cast<uint8_t*>(w.tile(tile)); }

/// Values between transposed rows of `count`: whole lines, and no power of two, for rows that far
/// apart would share a few places of the cache.
size_t turned_stride(size_t count) { return divide_up(count, 64) * 64 + 32; }

/// The columns of dy as rows of x for a product with `weight`, dy.rows of them: as prepare_rows.
PreparedRows prepare_columns(const PackedWeight& weight, const ElementMatrix& dy) {
  const PackedKernels& packed = packed_kernels(weight, dy.cols);
  const size_t stride = weight.padded_cols(), size = packed.value_bytes;
  const size_t all = divide_up(dy.cols, packed.row_block) * packed.row_block;
  float* const memory =
      scratch(Scratch::kPreparedColumns, divide_up(all * stride * size, sizeof(float)));
  uint8_t* const values = reinterpret_cast<uint8_t*>(memory);
  const size_t strips = divide_up(dy.cols, kStrip), ld = turned_stride(dy.rows);
  parallel_for(strips, grain_for(kWork * kStrip * dy.rows), [&](size_t begin, size_t end) {
    float* const memory = scratch(Scratch::kDecoded, packed.plain_halves ? 0 : kStrip * ld);
    auto* const halves = reinterpret_cast<uint16_t*>(memory);
    for (size_t col = begin * kStrip; col < std::min(end * kStrip, dy.cols); col += kStrip) {
      const ElementMatrix columns = {dy.values.from(col), dy.rows, std::min(kStrip, dy.cols - col),
                                     dy.ld};
      if (packed.plain_halves) {
        auto* const rows = reinterpret_cast<uint16_t*>(values) + col * stride;
        kernels().transpose(columns, rows, stride);
        continue;
      }
      PrepareArgs args = {columns.cols, memory,  ld,     values + col * stride * size,
                          nullptr,      nullptr, nullptr};
      if (packed.takes_halves) {
        args.x = nullptr;
        args.halves = halves;
        kernels().transpose(columns, halves, ld);
      } else {
        kernels().transpose(columns, memory, ld);
      }
      packed.prepare(weight, args);
    }
  });
  return {dy.cols, stride, values, nullptr, nullptr, nullptr};
}

}  // namespace

PackedWeight rounded_rows(const FloatMatrix& matrix) {
  PackedWeight w = plan(matrix.rows, matrix.cols, Scratch::kRoundedRows);
  parallel_for(w.tiles, grain_for(kWork * kTileRows * matrix.cols), [&](size_t begin, size_t end) {
    for (size_t tile = begin; tile < end; ++tile) {
      const size_t row = tile * kTileRows;
      kernels().pack_rows({matrix.values + row * matrix.ld, std::min(kTileRows, matrix.rows - row),
                           matrix.cols, matrix.ld},
                          w.group_stride, tile_of(w, tile));
    }
  });
  return w;
}

PackedWeight rounded_columns(const ElementMatrix& matrix) {
  PackedWeight w = plan(matrix.cols, matrix.rows, Scratch::kRoundedColumns);
  const size_t strips = divide_up(matrix.cols, kStrip);
  parallel_for(strips, grain_for(kWork * kStrip * matrix.rows), [&](size_t begin, size_t end) {
    for (size_t col = begin * kStrip; col < std::min(end * kStrip, matrix.cols); col += kStrip) {
      const size_t count = std::min(kStrip, matrix.cols - col);
      kernels().pack_columns({matrix.values.from(col), matrix.rows, count, matrix.ld},
                             w.group_stride, w.tile_bytes, tile_of(w, col / kTileRows));
    }
  });
  return w;
}

void rounded_linear(const FloatMatrix& weight, size_t m, const ConstElements& x, const float* bias,
                    const Elements& y) {
  packed_linear(rounded_rows(weight), m, x, bias, y);
}

void rounded_grad_input(const FloatMatrix& weight, size_t m, const float* dy, float* dx) {
  packed_linear(rounded_columns({weight.values, weight.rows, weight.cols, weight.ld}), m, dy,
                nullptr, dx);
}

void rounded_grad_weight(const ElementMatrix& dy, const ElementMatrix& x, float* dweight) {
  rounded_grad_weight(dy, rounded_columns(x), dweight);
}

void rounded_grad_weight(const ElementMatrix& dy, const PackedWeight& x_columns, float* dweight) {
  if (dy.rows == 0) return std::fill_n(dweight, dy.cols * x_columns.rows, 0.0f), void();
  packed_multiply({&x_columns, nullptr, dweight}, prepare_columns(x_columns, dy));
}

}  // namespace llmkit
