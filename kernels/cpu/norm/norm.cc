#include "cpu/norm/norm.h"

#include <vector>

#include "base/cpu_features.h"
#include "base/parallel.h"
#include "base/scratch.h"
#include "cpu/elements/elements.h"

namespace llmkit {
namespace {

const NormKernels& kernels() {
#define NORM_KERNELS(isa, name) \
  if (runs_here(isa)) return name;
#include "cpu/norm/kernels.inc"
#undef NORM_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

/// norm_grad of x in float32.
void grad_floats(const NormArgs& args, const float* x, const float* dy, float* dx, float* dweight,
                 float* dbias) {
  const size_t cols = args.cols, grain = grain_for(8 * cols);
  std::vector<NormStatistics> statistics(args.rows);
  parallel_for(args.rows, grain, [&](size_t begin, size_t end) {
    for (size_t row = begin; row < end; ++row)
      statistics[row] = kernels().statistics(args, x + row * cols);
  });
  if (dweight != nullptr || dbias != nullptr)
    parallel_elements(cols, 4 * args.rows, [&](size_t begin, size_t end) {
      kernels().grad_weight(args, x, statistics.data(), dy, begin, end, dweight, dbias);
    });
  if (dx == nullptr) return;
  parallel_for(args.rows, grain, [&](size_t begin, size_t end) {
    for (size_t row = begin; row < end; ++row)
      kernels().grad_input(args, x + row * cols, statistics[row], dy + row * cols, dx + row * cols);
  });
}

}  // namespace

void norm(const NormArgs& args, const float* bias, const Elements& y) {
  const size_t cols = args.cols;
  parallel_for(args.rows, grain_for(4 * cols), [&](size_t begin, size_t end) {
    float* const buffer = scratch(Scratch::kWidened, 2 * cols);
    for (size_t row = begin; row < end; ++row) {
      const Result to(y.from(row * cols), buffer + cols);
      kernels().forward(args, widened(args.x.from(row * cols), cols, buffer), bias, to.values());
      to.put(cols);
    }
  });
}

void norm_grad(const NormArgs& args, const float* dy, float* dx, float* dweight, float* dbias) {
  const size_t size = args.rows * args.cols;
  if (!args.x.is_bf16) return grad_floats(args, args.x.floats(), dy, dx, dweight, dbias);
  // The sums down the columns read all rows: they are widened once.
  float* const x = scratch(Scratch::kResults, size);
  convert(size, args.x, x);
  grad_floats(args, x, dy, dx, dweight, dbias);
}

}  // namespace llmkit
