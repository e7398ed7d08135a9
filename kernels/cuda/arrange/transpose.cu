#include "cuda/arrange/arrange.h"
#include "cuda/base/fours.h"

namespace llmkit::cuda {
namespace {

constexpr unsigned kTile = 32, kTileRows = 8;

/// A transposition of planes [rows, cols] of x: the columns are neighbours in x, the rows in y. The
/// other axes, at most four, count the planes.
struct Planes {
  unsigned rows, cols;
  size_t x_row, y_col;  // from one row to the next in x, from one column to the next in y
  unsigned axes;
  unsigned shape[kMaxAxes];
  size_t x_strides[kMaxAxes], y_strides[kMaxAxes];
  size_t count;
};

/// A block moves a tile of 32 x 32 through shared memory, so that rows are read and written whole.
__global__ void __launch_bounds__(kTile* kTileRows)
    transpose_kernel(Planes p, const float* x, float* y) {
  __shared__ float tile[kTile][kTile + 1];  // the columns lie in 32 banks as well
  const unsigned across = (p.cols + kTile - 1) / kTile, down = (p.rows + kTile - 1) / kTile;
  const unsigned col = blockIdx.x % across * kTile, row = blockIdx.x / across % down * kTile;
  unsigned rest = blockIdx.x / across / down;
  size_t from = 0, to = 0;
  for (unsigned axis = p.axes; axis-- > 0;) {
    from += rest % p.shape[axis] * p.x_strides[axis];
    to += rest % p.shape[axis] * p.y_strides[axis];
    rest /= p.shape[axis];
  }
  for (unsigned i = threadIdx.y; i < kTile; i += kTileRows)
    if (row + i < p.rows && col + threadIdx.x < p.cols)
      tile[i][threadIdx.x] = x[from + (row + i) * p.x_row + col + threadIdx.x];
  __syncthreads();
  for (unsigned i = threadIdx.y; i < kTile; i += kTileRows)
    if (col + i < p.cols && row + threadIdx.x < p.rows)
      y[to + (col + i) * p.y_col + row + threadIdx.x] = tile[threadIdx.x][i];
}

/// The transposition as a copy: by axis of y, the strides of both.
StridedCopyArgs copy_of(const TransposeArgs& p) {
  StridedCopyArgs copy = {};
  copy.axes = p.axes;
  copy.x = reinterpret_cast<const uint32_t*>(p.x);
  copy.y = reinterpret_cast<uint32_t*>(p.y);
  size_t strides[kMaxAxes], step = 1;
  for (size_t axis = p.axes; axis-- > 0; step *= p.shape[axis]) strides[axis] = step;
  step = 1;
  for (size_t axis = p.axes; axis-- > 0; step *= copy.shape[axis]) {
    copy.shape[axis] = p.shape[p.permutation[axis]];
    copy.x_strides[axis] = strides[p.permutation[axis]];
    copy.y_strides[axis] = step;
  }
  return copy;
}

}  // namespace

cudaError_t transpose(const TransposeArgs& args, cudaStream_t stream) {
  const StridedCopyArgs copy = copy_of(args);
  const size_t last = args.axes - 1;
  size_t paired = last;  // the axis of y whose elements are neighbours in x
  for (size_t axis = 0; axis < last; ++axis)
    if (args.permutation[axis] == last) paired = axis;
  if (paired == last || copy.shape[paired] == 1 || copy.shape[last] == 1)
    return strided_copy(copy, stream);
  Planes p = {};
  p.rows = static_cast<unsigned>(copy.shape[last]);
  p.cols = static_cast<unsigned>(copy.shape[paired]);
  p.x_row = copy.x_strides[last];
  p.y_col = copy.y_strides[paired];
  p.count = 1;
  for (size_t axis = 0; axis < last; ++axis) {
    if (axis == paired) continue;
    p.shape[p.axes] = static_cast<unsigned>(copy.shape[axis]);
    p.x_strides[p.axes] = copy.x_strides[axis];
    p.y_strides[p.axes++] = copy.y_strides[axis];
    p.count *= copy.shape[axis];
  }
  const size_t tiles = size_t{blocks_of(p.cols, kTile)} * blocks_of(p.rows, kTile) * p.count;
  if (tiles > 0x7fffffffu) return cudaErrorInvalidValue;
  const Launch blocks = {dim3(static_cast<unsigned>(tiles)), dim3(kTile, kTileRows), 0, stream};
  return launch(transpose_kernel, blocks, p, args.x, args.y);
}

}  // namespace llmkit::cuda
