#include "cpu/matmul/matmul.h"

#include <algorithm>

#include "base/parallel.h"
#include "base/scratch.h"
#include "cpu/gemm/gemm.h"

namespace llmkit {
namespace {

/// A block of the result: rows and columns are cut so that a task's operands stay in the caches.
constexpr size_t kRows = 192, kCols = 192;

struct Block {
  size_t row, rows, col, cols;
};

/// Rows of a transposed a, as rows along k.
const float* untransposed(const MatmulArgs& p, const float* a, const Block& block) {
  float* const packed = scratch(Scratch::kDecoded, block.rows * p.k);
  for (size_t k = 0; k < p.k; ++k)
    for (size_t i = 0; i < block.rows; ++i) packed[i * p.k + k] = a[k * p.m + block.row + i];
  return packed;
}

void dot_block(const MatmulArgs& p, const float* a, const float* b, float* y, const Block& block) {
  const float* x = p.transpose_a ? untransposed(p, a, block) : a + block.row * p.k;
  gemm_f32().dot({block.rows, block.cols, p.k, x, p.k, b + block.col * p.k, p.k, nullptr,
                  y + block.row * p.n + block.col, p.n});
}

void axpy_block(const MatmulArgs& p, const float* a, const float* b, float* y, const Block& block) {
  const size_t row_step = p.transpose_a ? 1 : p.k, k_step = p.transpose_a ? p.m : 1;
  gemm_f32().axpy({block.rows, block.cols, p.k, a + block.row * row_step, row_step, k_step,
                   b + block.col, p.n, y + block.row * p.n + block.col, p.n, false});
}

}  // namespace

void matmul(const MatmulArgs& p) {
  const size_t batch = std::max(p.batch_a, p.batch_b);
  const size_t row_blocks = (p.m + kRows - 1) / kRows, col_blocks = (p.n + kCols - 1) / kCols;
  const size_t blocks = row_blocks * col_blocks;
  if (blocks == 0) return;
  const size_t work = 2 * std::min(p.m, kRows) * std::min(p.n, kCols) * p.k / 8;
  parallel_for(batch * blocks, grain_for(work), [&](size_t begin, size_t end) {
    for (size_t task = begin; task < end; ++task) {
      const size_t i = task / blocks, row = task % blocks / col_blocks * kRows;
      const size_t col = task % col_blocks * kCols;
      const Block block = {row, std::min(kRows, p.m - row), col, std::min(kCols, p.n - col)};
      const float* a = p.a + i % p.batch_a * p.m * p.k;
      const float* b = p.b + i % p.batch_b * p.k * p.n;
      (p.transpose_b ? dot_block : axpy_block)(p, a, b, p.y + i * p.m * p.n, block);
    }
  });
}

}  // namespace llmkit
