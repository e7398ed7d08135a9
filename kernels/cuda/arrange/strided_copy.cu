#include "cuda/arrange/arrange.h"
#include "cuda/base/fours.h"

namespace llmkit::cuda {
namespace {

/// The axes before the last, which a row's number is taken apart into, and the last if it is in one
/// piece on both sides: then it is the row.
struct Walk {
  unsigned axes;
  unsigned shape[kMaxCopyAxes];
  size_t x_strides[kMaxCopyAxes], y_strides[kMaxCopyAxes];
  size_t rows, cols;
};

__global__ void __launch_bounds__(kElementThreads)
    strided_copy_kernel(Walk walk, const uint32_t* x, uint32_t* y) {
  each_row_four(walk.rows, walk.cols, [&](size_t row, size_t col) {
    unsigned rest = static_cast<unsigned>(row);
    size_t from = 0, to = 0;
    for (unsigned axis = walk.axes; axis-- > 0;) {
      const unsigned i = rest % walk.shape[axis];
      rest /= walk.shape[axis];
      from += i * walk.x_strides[axis];
      to += i * walk.y_strides[axis];
    }
    store_four(y + to, col, walk.cols, load_four(x + from, col, walk.cols));
  });
}

}  // namespace

cudaError_t strided_copy(const StridedCopyArgs& args, cudaStream_t stream) {
  const StridedCopyArgs p = joined(args);
  Walk walk = {};
  walk.rows = walk.cols = 1;
  size_t axes = p.axes;
  if (axes > 0 && p.x_strides[axes - 1] == 1 && p.y_strides[axes - 1] == 1)
    walk.cols = p.shape[--axes];
  for (size_t axis = 0; axis < axes; ++axis) {
    walk.rows *= p.shape[axis];
    if (walk.rows > 0xffffffffu) return cudaErrorInvalidValue;
    walk.shape[axis] = static_cast<unsigned>(p.shape[axis]);
    walk.x_strides[axis] = p.x_strides[axis];
    walk.y_strides[axis] = p.y_strides[axis];
  }
  walk.axes = static_cast<unsigned>(axes);
  return launch(strided_copy_kernel, over_rows(walk.rows, walk.cols, stream), walk, p.x, p.y);
}

}  // namespace llmkit::cuda
