#include "cpu/linear/linear.h"

#include <algorithm>

#include "base/cpu_features.h"
#include "base/parallel.h"
#include "base/scratch.h"
#include "cpu/gemm/gemm.h"
#include "cpu/weight/weight.h"

namespace llmkit {
namespace {

/// Floats of decoded weight that stay in the second-level cache, which has 1 MB and more beside
/// AVX-512 and may have 256 KB elsewhere: the more, the less often x is read.
size_t decoded_floats() { return (runs_here(isa::kAvx512) ? 136 : 64) * 1024; }
/// Rows of x that share a decoded block when there are few blocks for the threads.
constexpr size_t kRowsPerTask = 192;

size_t divide_up(size_t a, size_t b) { return (a + b - 1) / b; }

/// Weight rows of a block: a multiple of 12, so that whole tiles of every shape fill it.
size_t rows_per_block(size_t cols) {
  return std::clamp<size_t>(decoded_floats() / std::max<size_t>(cols, 1) / 12 * 12, 12, 48);
}

void linear_few_rows(const WeightView& weight, const DotArgs& all, const LowRank* update) {
  const size_t block = 16;
  parallel_for(divide_up(all.n, block), grain_for(2 * block * all.k),
               [&](size_t begin, size_t end) {
                 DotArgs args = all;
                 const size_t row = begin * block;
                 args.n = std::min(all.n, end * block) - row;
                 args.y += row;
                 if (args.bias != nullptr) args.bias += row;
                 weight_f32().fused_product(weight, row, args);
                 if (update != nullptr)
                   add_low_rank(*update, {0, args.m, row, args.n, args.y, args.ldy});
               });
}

/// Rows of x that make it worth to copy float32 rows of a weight: the copy lies in the cache and in
/// few pages. Measured: 20 % at 512 rows.
constexpr size_t kRowsForCopy = 48;

const float* decoded_rows(const WeightView& weight, size_t row, size_t n) {
  float* const decoded = scratch(Scratch::kDecoded, n * weight.cols);
  weight_f32().decode(weight, row * weight.cols, n * weight.cols, decoded);
  return decoded;
}

/// A block of weight rows times a block of rows of x.
void linear_block(const WeightView& weight, DotArgs args, size_t row, size_t m) {
  args.x += m * args.ldx;
  args.y += m * args.ldy + row;
  if (args.bias != nullptr) args.bias += row;
  args.w =
      args.m < kRowsForCopy ? weight_rows(weight, row, args.n) : decoded_rows(weight, row, args.n);
  gemm_f32().dot(args);
}

}  // namespace

const float* weight_rows(const WeightView& weight, size_t row, size_t n) {
  if (weight.format == WeightFormat::kF32)
    return reinterpret_cast<const float*>(weight.codes) + row * weight.cols;
  return decoded_rows(weight, row, n);
}

void linear(const WeightView& weight, size_t m, const float* x, const float* bias, float* y,
            const LowRank* update) {
  const size_t n = weight.rows, k = weight.cols;
  const DotArgs all = {m, n, k, x, k, nullptr, k, bias, y, n};
  if (m == 0 || n == 0) return;
  if (m <= size_t{kMaxFusedRows} && can_fuse(weight)) return linear_few_rows(weight, all, update);
  const size_t block = rows_per_block(k), blocks = divide_up(n, block);
  const size_t rows = blocks >= 4 * thread_count() ? m : std::min(m, kRowsPerTask);
  const size_t work = 2 * std::min(block, n) * rows * k / 8;  // eight operations per cycle
  parallel_for(blocks * divide_up(m, rows), grain_for(work), [&](size_t begin, size_t end) {
    for (size_t task = begin; task < end; ++task) {
      const size_t row = task % blocks * block, first = task / blocks * rows;
      DotArgs args = all;
      args.n = std::min(block, n - row);
      args.m = std::min(rows, m - first);
      linear_block(weight, args, row, first);
      if (update != nullptr)
        add_low_rank(*update, {first, args.m, row, args.n, y + first * n + row, n});
    }
  });
}

void linear_grad_input(const WeightView& weight, size_t m, const float* dy, float* dx,
                       const LowRank* update) {
  const size_t rows = weight.rows, cols = weight.cols;
  const bool dense = weight.format == WeightFormat::kF32;
  const size_t width = 256, depth = dense ? std::max<size_t>(rows, 1) : 128;
  if (m == 0) return;
  const auto strip = [&](size_t col, size_t count) {
    for (size_t row = 0; row < rows || row == 0; row += depth) {
      const size_t n = std::min(depth, rows - row);
      const float* b = reinterpret_cast<const float*>(weight.codes) + col;
      size_t ldb = cols;
      if (!dense) {
        float* const decoded = scratch(Scratch::kDecoded, depth * width);
        for (size_t i = 0; i < n; ++i)
          weight_f32().decode(weight, (row + i) * cols + col, count, decoded + i * count);
        b = decoded;
        ldb = count;
      }
      gemm_f32().axpy({m, count, n, dy + row, rows, 1, b, ldb, dx + col, cols, row > 0});
    }
    if (update != nullptr) add_low_rank(*update, {0, m, col, count, dx + col, cols});
  };
  const size_t strips = divide_up(cols, width);
  parallel_for(strips, grain_for(2 * width * rows * m / 8), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) strip(i * width, std::min(width, cols - i * width));
  });
}

void dequantize_rows(const WeightView& weight, size_t count, const int* ids, float* y) {
  const size_t cols = weight.cols;
  parallel_for(count, grain_for(cols), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i)
      weight_f32().decode(weight, static_cast<size_t>(ids[i]) * cols, cols, y + i * cols);
  });
}

}  // namespace llmkit
