#include "cpu/norm/norm.h"

#include <vector>

#include "base/cpu_features.h"
#include "base/parallel.h"

namespace llmkit {
namespace {

const NormKernels& kernels() {
#define NORM_KERNELS(isa, name) \
  if (runs_here(isa)) return name;
#include "cpu/norm/kernels.inc"
#undef NORM_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

}  // namespace

void norm(const NormArgs& args, const float* bias, float* y) {
  parallel_for(args.rows, grain_for(4 * args.cols),
               [&](size_t begin, size_t end) { kernels().forward(args, bias, begin, end, y); });
}

void norm_grad(const NormArgs& args, const float* dy, float* dx, float* dweight, float* dbias) {
  std::vector<NormStatistics> statistics(args.rows);
  const size_t grain = grain_for(8 * args.cols);
  parallel_for(args.rows, grain, [&](size_t begin, size_t end) {
    kernels().statistics(args, begin, end, statistics.data());
  });
  if (dweight != nullptr || dbias != nullptr)
    parallel_elements(args.cols, 4 * args.rows, [&](size_t begin, size_t end) {
      kernels().grad_weight(args, statistics.data(), dy, begin, end, dweight, dbias);
    });
  parallel_for(args.rows, grain, [&](size_t begin, size_t end) {
    kernels().grad_input(args, statistics.data(), dy, begin, end, dx);
  });
}

}  // namespace llmkit
