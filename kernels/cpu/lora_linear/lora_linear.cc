#include "cpu/lora_linear/lora_linear.h"

#include <algorithm>
#include <cstring>

#include "base/parallel.h"
#include "base/scratch.h"
#include "cpu/elements/elements.h"
#include "cpu/gemm/gemm.h"
#include "cpu/gemm/low_rank.h"
#include "cpu/linear/linear.h"
#include "cpu/lora_linear/packed_lora.h"
#include "cpu/packed/packed.h"

namespace llmkit {
namespace {

/// Columns of a task whose sums run over the rows of x, the rows that are copied at a time, and the
/// rows of a task whose sums run along them.
constexpr size_t kStrip = 64, kDepth = 32, kRows = 24;
/// Rows of x that make a copy of a worth while.
constexpr size_t kRowsForCopy = 48;

size_t divide_up(size_t a, size_t b) { return (a + b - 1) / b; }

/// body(begin, count) for all of 0..n in steps of `step`, with all threads.
template <typename Body>
void each_strip(size_t n, size_t step, size_t work, const Body& body) {
  parallel_for(divide_up(n, step), grain_for(work), [&](size_t begin, size_t end) {
    for (size_t i = begin * step; i < std::min(end * step, n); i += step)
      body(i, std::min(step, n - i));
  });
}

void copy_floats(const ConstElements& x, size_t n, float* y) {
  if (x.is_bf16) return widen(n, x.halves(), y);
  std::memcpy(y, x.floats(), n * sizeof(float));
}

/// out [rank, cols] = leftᵀ · right, of left [m, rank] and right [m, cols], rows `ld` apart; cols
/// is at most kStrip. right is read many times: rows a power of two apart would push each other out
/// of the cache, so that it is copied piece by piece.
void strip_product(size_t m, size_t rank, const float* left, size_t cols,
                   const ConstElements& right, size_t ld, float* out, size_t ld_out) {
  float* const piece = scratch(Scratch::kScores, kDepth * kStrip);
  for (size_t row = 0; row < m || row == 0; row += kDepth) {
    const size_t rows = std::min(kDepth, m - row);
    for (size_t i = 0; i < rows; ++i)
      copy_floats(right.from((row + i) * ld), cols, piece + i * kStrip);
    gemm_f32().axpy(
        {rank, cols, rows, left + row * rank, 1, rank, piece, kStrip, out, ld_out, row > 0});
  }
}

/// Rows of a, `ld` floats apart.
struct Rows {
  const float* values;
  size_t ld;
};
/// For many rows of x a copy, for the same reason.
Rows rows_of_a(const LoraWeight& w, size_t m) {
  const size_t cols = w.weight.cols, ld = cols + 16;
  if (m < kRowsForCopy) return {w.a, cols};
  float* const copy = scratch(Scratch::kLowRank, w.rank * ld);
  for (size_t r = 0; r < w.rank; ++r)
    std::memcpy(copy + r * ld, w.a + r * cols, cols * sizeof(float));
  return {copy, ld};
}

/// Rows [row, row + count) of low = scale · dropped · aᵀ, in float32.
void low_in_floats(const LoraWeight& w, const LoraArgs& p, const Rows& a, size_t row,
                   size_t count) {
  const size_t cols = w.weight.cols, rank = w.rank;
  float* const out = p.low + row * rank;
  float* const buffer = scratch(Scratch::kWidened, p.dropped.is_bf16 ? count * cols : 0);
  const float* const x = widened(p.dropped.from(row * cols), count * cols, buffer);
  gemm_f32().dot({count, rank, cols, x, cols, a.values, a.ld, nullptr, out, rank});
  for (size_t i = 0; i < count * rank; ++i) out[i] *= w.scale;
}

void low_product(const LoraWeight& w, const LoraArgs& p) {
  const Rows a = rows_of_a(w, p.m);
  each_strip(p.m, kRows, 2 * kRows * w.rank * w.weight.cols / 8,
             [&](size_t row, size_t count) { low_in_floats(w, p, a, row, count); });
}

/// dlow [m, rank] = scale · dy · b
void low_gradient(const LoraWeight& w, const LoraGradArgs& p, float* dlow) {
  const size_t rows = w.weight.rows, rank = w.rank;
  each_strip(p.m, kRows, 2 * kRows * rank * rows / 8, [&](size_t row, size_t count) {
    float* const out = dlow + row * rank;
    gemm_f32().axpy({count, rank, rows, p.dy + row * rows, rows, 1, w.b, rank, out, rank, false});
    for (size_t i = 0; i < count * rank; ++i) out[i] *= w.scale;
  });
}

/// da [rank, cols] = dlowᵀ · dropped
void a_gradient(const LoraWeight& w, const LoraGradArgs& p, const float* dlow) {
  const size_t cols = w.weight.cols;
  each_strip(cols, kStrip, 2 * kStrip * w.rank * p.m / 8, [&](size_t col, size_t count) {
    strip_product(p.m, w.rank, dlow, count, p.dropped.from(col), cols, p.da + col, cols);
  });
}

/// db [rows, rank] = dyᵀ · low, made as its transpose: the rows of dy run along it.
void b_gradient(const LoraWeight& w, const LoraGradArgs& p) {
  const size_t rows = w.weight.rows, rank = w.rank;
  each_strip(rows, kStrip, 2 * kStrip * rank * p.m / 8, [&](size_t row, size_t count) {
    float* const turned = scratch(Scratch::kDecoded, rank * kStrip);
    strip_product(p.m, rank, p.low, count, p.dy + row, rows, turned, kStrip);
    for (size_t i = 0; i < count; ++i)
      for (size_t r = 0; r < rank; ++r) p.db[(row + i) * rank + r] = turned[r * kStrip + i];
  });
}

/// What is added to y. For many rows with the transpose of b, whose rows are read as they lie.
LowRank update_of(const LoraWeight& w, const LoraArgs& p) {
  const size_t rows = w.weight.rows, rank = w.rank;
  if (p.m < kRowsForCopy) return {rank, p.low, w.b, 1, rank};
  float* const turned = scratch(Scratch::kSplitB, rank * rows);
  each_strip(rows, kStrip, kStrip * rank, [&](size_t row, size_t count) {
    for (size_t r = 0; r < rank; ++r)
      for (size_t i = row; i < row + count; ++i) turned[r * rows + i] = w.b[i * rank + r];
  });
  return {rank, p.low, turned, rows, 1};
}

}  // namespace

void lora_linear(const LoraWeight& w, const LoraArgs& p) {
  if (w.packed != nullptr && w.packed->compute != Compute::kInt8) return packed_lora(w, p);
  const LowRank update = update_of(w, p);
  if (w.packed == nullptr) {
    low_product(w, p);
    return linear(w.weight, p.m, p.x.floats(), p.bias, p.y.floats(), &update);
  }
  // x becomes integers; low is made of the same rows meanwhile, in float32.
  const bool whole = p.dropped.data == p.x.data;
  if (!whole) low_product(w, p);
  const Rows a = rows_of_a(w, p.m);
  const auto low = [&](const PreparedRows&, size_t row, size_t count) {
    low_in_floats(w, p, a, row, count);
  };
  const PreparedRows rows =
      prepare_rows(*w.packed, p.m, p.x, w.weight.cols, whole ? WithRows(low) : nullptr);
  packed_multiply({w.packed, p.bias, p.y, &update}, rows);
}

void lora_linear_grad(const LoraWeight& w, const LoraGradArgs& p) {
  if (w.packed != nullptr) return packed_lora_grad(w, p);
  const size_t cols = w.weight.cols, rank = w.rank;
  float* const dlow = scratch(Scratch::kLowRank, p.m * rank);
  low_gradient(w, p, dlow);
  a_gradient(w, p, dlow);
  b_gradient(w, p);
  const LowRank update = {rank, dlow, w.a, cols, 1};
  const LowRank* const in_dx = p.ddropped == nullptr ? &update : nullptr;
  linear_grad_input(w.weight, p.m, p.dy, p.dx, in_dx);
  if (p.ddropped == nullptr) return;
  each_strip(p.m, kRows, 2 * kRows * rank * cols / 8, [&](size_t row, size_t count) {
    gemm_f32().axpy({count, cols, rank, dlow + row * rank, rank, 1, w.a, cols,
                     p.ddropped + row * cols, cols, false});
  });
}

}  // namespace llmkit
