#include "cpu/lora_linear/lora_linear.h"

#include <algorithm>

#include "base/parallel.h"
#include "base/scratch.h"
#include "cpu/gemm/gemm.h"
#include "cpu/gemm/low_rank.h"
#include "cpu/linear/linear.h"
#include "cpu/packed/packed.h"

namespace llmkit {
namespace {

/// Columns of a task whose sums run over the rows of x, rows of a task whose sums run along them.
constexpr size_t kStrip = 256, kRows = 24;

size_t divide_up(size_t a, size_t b) { return (a + b - 1) / b; }

/// body(begin, count) for all of 0..n in steps of `step`, with all threads.
template <typename Body>
void each_strip(size_t n, size_t step, size_t work, const Body& body) {
  parallel_for(divide_up(n, step), grain_for(work), [&](size_t begin, size_t end) {
    for (size_t i = begin * step; i < std::min(end * step, n); i += step)
      body(i, std::min(step, n - i));
  });
}

/// low [m, rank] = scale · dropped · aᵀ
void low_product(const LoraWeight& w, const LoraArgs& p) {
  const size_t cols = w.weight.cols, rank = w.rank;
  each_strip(p.m, kRows, 2 * kRows * rank * cols / 8, [&](size_t row, size_t count) {
    float* const out = p.low + row * rank;
    gemm_f32().dot(
        {count, rank, cols, p.dropped + row * cols, cols, w.a, cols, nullptr, out, rank});
    for (size_t i = 0; i < count * rank; ++i) out[i] *= w.scale;
  });
}

/// dlow [m, rank] = scale · dy · b
void low_gradient(const LoraWeight& w, const LoraGradArgs& p, float* dlow) {
  const size_t rows = w.weight.rows, rank = w.rank;
  each_strip(p.m, kRows, 2 * kRows * rank * rows / 8, [&](size_t row, size_t count) {
    float* const out = dlow + row * rank;
    gemm_f32().axpy(
        {count, rank, rows, p.dy + row * rows, rows, 1, w.b, rank, out, rank, false});
    for (size_t i = 0; i < count * rank; ++i) out[i] *= w.scale;
  });
}

/// da [rank, cols] = dlowᵀ · dropped
void a_gradient(const LoraWeight& w, const LoraGradArgs& p, const float* dlow) {
  const size_t cols = w.weight.cols;
  each_strip(cols, kStrip, 2 * kStrip * w.rank * p.m / 8, [&](size_t col, size_t count) {
    gemm_f32().axpy({w.rank, count, p.m, dlow, 1, w.rank, p.dropped + col, cols, p.da + col, cols,
                     false});
  });
}

/// db [rows, rank] = dyᵀ · low, made as its transpose: the rows of dy run along it.
void b_gradient(const LoraWeight& w, const LoraGradArgs& p) {
  const size_t rows = w.weight.rows, rank = w.rank;
  each_strip(rows, kStrip, 2 * kStrip * rank * p.m / 8, [&](size_t row, size_t count) {
    float* const turned = scratch(Scratch::kDecoded, rank * kStrip);
    gemm_f32().axpy(
        {rank, count, p.m, p.low, 1, rank, p.dy + row, rows, turned, kStrip, false});
    for (size_t i = 0; i < count; ++i)
      for (size_t r = 0; r < rank; ++r) p.db[(row + i) * rank + r] = turned[r * kStrip + i];
  });
}

}  // namespace

void lora_linear(const LoraWeight& w, const LoraArgs& p) {
  low_product(w, p);
  const LowRank update = {w.rank, p.low, w.b, 1, w.rank};
  if (w.packed != nullptr)
    packed_linear(*w.packed, p.m, p.x, p.bias, p.y, &update);
  else
    linear(w.weight, p.m, p.x, p.bias, p.y, &update);
}

void lora_linear_grad(const LoraWeight& w, const LoraGradArgs& p) {
  const size_t rows = w.weight.rows, cols = w.weight.cols, rank = w.rank;
  float* const dlow = scratch(Scratch::kLowRank, p.m * rank);
  low_gradient(w, p, dlow);
  a_gradient(w, p, dlow);
  b_gradient(w, p);
  const LowRank update = {rank, dlow, w.a, cols, 1};
  const LowRank* const in_dx = p.ddropped == nullptr ? &update : nullptr;
  if (w.packed != nullptr)
    packed_grad_input(*w.packed, {p.m, p.dy, rows, 0, w.packed->tiles, p.dx, false, in_dx});
  else
    linear_grad_input(w.weight, p.m, p.dy, p.dx, in_dx);
  if (p.ddropped == nullptr) return;
  each_strip(p.m, kRows, 2 * kRows * rank * cols / 8, [&](size_t row, size_t count) {
    gemm_f32().axpy({count, cols, rank, dlow + row * rank, rank, 1, w.a, cols,
                     p.ddropped + row * cols, cols, false});
  });
}

}  // namespace llmkit
