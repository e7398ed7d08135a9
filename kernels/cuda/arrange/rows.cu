#include "cuda/arrange/arrange.h"
#include "cuda/base/fours.h"
#include "cuda/base/report_wrong_id.h"

namespace llmkit::cuda {
namespace {

__global__ void __launch_bounds__(kElementThreads)
    fill_kernel(size_t n, uint32_t word, uint32_t* y) {
  each_four(n, [=](size_t i) { store_four(y, i, n, {word, word, word, word}); });
}

__global__ void __launch_bounds__(kElementThreads) gather_kernel(GatherArgs p, IdReport* report) {
  for (size_t outer = blockIdx.z; outer < p.outer; outer += gridDim.z)
    each_row_four(p.count, p.inner, [&](size_t i, size_t col) {
      const int32_t id = p.ids[i];
      float* const y = p.y + (outer * p.count + i) * p.inner;
      if (id < 0 || static_cast<size_t>(id) >= p.axis) {
        const float nan = __int_as_float(0x7fc00000);
        store_four(y, col, p.inner, {nan, nan, nan, nan});
        report_wrong_id(report, id, p.axis);
        return;
      }
      const float* const x = p.x + (outer * p.axis + static_cast<size_t>(id)) * p.inner;
      store_four(y, col, p.inner, load_four(x, col, p.inner));
    });
}

/// A block for each row of x. The first row with an id owns that row of y, and adds all rows with
/// the id in order; the blocks of the others find out and leave.
__global__ void __launch_bounds__(kElementThreads)
    scatter_add_kernel(ScatterAddArgs p, IdReport* report) {
  __shared__ unsigned with_id[kElementThreads / kWarp];  // a bit for each of the next 256 rows
  const size_t first = blockIdx.x;
  const int32_t id = p.ids[first];
  if (id < 0 || static_cast<size_t>(id) >= p.rows) {
    if (threadIdx.x == 0) report_wrong_id(report, id, p.rows);
    return;
  }
  for (size_t i = 0; i < first; i += kElementThreads) {
    const size_t mine = i + threadIdx.x;
    if (__syncthreads_or(mine < first && p.ids[mine] == id)) return;
  }
  float* const y = p.y + static_cast<size_t>(id) * p.cols;
  for (size_t i = first; i < p.count; i += kElementThreads) {
    const size_t mine = i + threadIdx.x;
    const unsigned found = __ballot_sync(kAllLanes, mine < p.count && p.ids[mine] == id);
    if (threadIdx.x % kWarp == 0) with_id[threadIdx.x / kWarp] = found;
    __syncthreads();
    for (unsigned word = 0; word < kElementThreads / kWarp; ++word)
      for (unsigned bits = with_id[word]; bits != 0; bits &= bits - 1) {
        const size_t row =
            i + word * kWarp + static_cast<unsigned>(__ffs(static_cast<int>(bits))) - 1;
        for (size_t col = threadIdx.x; col < p.cols; col += kElementThreads)
          y[col] += p.x[row * p.cols + col];
      }
    __syncthreads();  // before the bits are overwritten
  }
}

}  // namespace

cudaError_t fill(size_t n, uint32_t word, uint32_t* y, cudaStream_t stream) {
  return launch(fill_kernel, over_elements(n, stream), n, word, y);
}

cudaError_t gather(const GatherArgs& args, cudaStream_t stream, IdReport* report) {
  Launch blocks = over_rows(args.count, args.inner, stream);
  blocks.grid.z = static_cast<unsigned>(std::min<size_t>(args.outer, 1024));
  return launch(gather_kernel, blocks, args, report);
}

cudaError_t scatter_add(const ScatterAddArgs& args, cudaStream_t stream, IdReport* report) {
  const Launch blocks = {dim3(static_cast<unsigned>(args.count)), dim3(kElementThreads), 0, stream};
  return launch(scatter_add_kernel, blocks, args, report);
}

}  // namespace llmkit::cuda
