#include "cpu/elements/elements.h"

#include <cstring>

#include "base/cpu_features.h"
#include "base/parallel.h"

namespace llmkit {
namespace {

const ElementsKernels& kernels() {
#define ELEMENTS_KERNELS(isa, name) \
  if (runs_here(isa)) return name;
#include "cpu/elements/kernels.inc"
#undef ELEMENTS_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

void convert_range(size_t n, const ConstElements& x, const Elements& y) {
  if (x.is_bf16 && !y.is_bf16) return widen(n, x.halves(), y.floats());
  if (!x.is_bf16 && y.is_bf16) return narrow(n, x.floats(), y.halves());
  std::memcpy(y.data, x.data, n * (x.is_bf16 ? sizeof(uint16_t) : sizeof(float)));
}

}  // namespace

void widen(size_t n, const uint16_t* x, float* y) { kernels().widen(n, x, y); }

void narrow(size_t n, const float* x, uint16_t* y) { kernels().narrow(n, x, y); }

void convert(size_t n, const ConstElements& x, const Elements& y) {
  parallel_elements(n, 1, [&](size_t begin, size_t end) {
    convert_range(end - begin, x.from(begin), y.from(begin));
  });
}

}  // namespace llmkit
