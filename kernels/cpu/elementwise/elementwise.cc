#include "cpu/elementwise/elementwise.h"

#include "base/cpu_features.h"
#include "base/parallel.h"

namespace llmkit {
namespace {

const ElementwiseKernels& kernels() {
#define ELEMENTWISE_KERNELS(isa, name) \
  if (runs_here(isa)) return name;
#include "cpu/elementwise/kernels.inc"
#undef ELEMENTWISE_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

bool is_uniform(const Operand& operand) {
  return operand.broadcast == Broadcast::kFull || operand.broadcast == Broadcast::kScalar;
}

}  // namespace

void unary(size_t op, size_t n, const float* x, float* y) {
  parallel_elements(n, 8, [&](size_t begin, size_t end) { kernels().unary[op](begin, end, x, y); });
}

void binary(size_t op, const BinaryArgs& args) {
  BinaryArgs p = args;
  if (is_uniform(p.a) && is_uniform(p.b)) {  // one long row
    p.cols *= p.rows;
    p.rows = 1;
  }
  parallel_elements(p.rows * p.cols, 4,
                    [&](size_t begin, size_t end) { kernels().binary[op](p, begin, end); });
}

}  // namespace llmkit
