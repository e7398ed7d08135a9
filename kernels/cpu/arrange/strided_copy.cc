#include <cstring>

#include "base/parallel.h"
#include "cpu/arrange/arrange.h"

namespace llmkit {
namespace {

/// Copies `count` words whose neighbours lie so far apart.
void copy_run(const uint32_t* x, size_t x_stride, uint32_t* y, size_t y_stride, size_t count) {
  if (x_stride == 1 && y_stride == 1) {
    std::memcpy(y, x, count * sizeof(uint32_t));
    return;
  }
  for (size_t i = 0; i < count; ++i) y[i * y_stride] = x[i * x_stride];
}

}  // namespace

void strided_copy(const StridedCopyArgs& args) {
  const StridedCopyArgs p = joined(args);
  for (size_t axis = 0; axis < p.axes; ++axis)
    if (p.shape[axis] == 0) return;
  if (p.axes == 0) {
    *p.y = *p.x;
    return;
  }
  const size_t last = p.axes - 1;
  size_t runs = 1;
  for (size_t axis = 0; axis < last; ++axis) runs *= p.shape[axis];
  parallel_for(runs, grain_for(p.shape[last]), [&](size_t begin, size_t end) {
    for (size_t run = begin; run < end; ++run) {
      size_t rest = run, from = 0, to = 0;
      for (size_t axis = last; axis-- > 0; rest /= p.shape[axis]) {
        from += rest % p.shape[axis] * p.x_strides[axis];
        to += rest % p.shape[axis] * p.y_strides[axis];
      }
      copy_run(p.x + from, p.x_strides[last], p.y + to, p.y_strides[last], p.shape[last]);
    }
  });
}

}  // namespace llmkit
