#include <cmath>

#include "cuda/base/launch.h"
#include "cuda/base/report_wrong_id.h"
#include "cuda/weight/decode.h"
#include "cuda/weight/weight.h"

namespace llmkit::cuda {
namespace {

constexpr int kThreads = 256;
/// Values of a thread.
constexpr int kRun = 4;

__global__ void __launch_bounds__(kThreads)
    dequantize_kernel(StoredWeight weight, DequantizeArgs args, size_t runs_per_row) {
  __shared__ float codebook[16];
  if (threadIdx.x < 16) codebook[threadIdx.x] = weight.codebook[threadIdx.x];
  __syncthreads();
  const size_t task = size_t{blockIdx.x} * kThreads + threadIdx.x;
  const size_t i = divide(task, runs_per_row), col = (task - i * runs_per_row) * kRun;
  if (i >= args.count) return;
  const size_t cols = weight.view.cols;
  const int64_t row = args.ids == nullptr ? static_cast<int64_t>(args.first + i) : args.ids[i];
  const bool good = row >= 0 && static_cast<size_t>(row) < weight.view.rows;
  if (!good) report_wrong_id(args.report, static_cast<int32_t>(row), weight.view.rows);
  const int count = cols - col < kRun ? static_cast<int>(cols - col) : kRun;
  float values[kRun];
  stored_run(weight.view, codebook, static_cast<size_t>(row) * cols + col, good ? count : 0,
             values);
#pragma unroll
  for (int e = 0; e < kRun; ++e)
    if (e < count) args.y[i * cols + col + e] = good ? values[e] : NAN;
}

}  // namespace

cudaError_t dequantize_rows(const DequantizeArgs& args, cudaStream_t stream) {
  const size_t runs_per_row = (args.weight.cols + kRun - 1) / kRun;
  const Launch how = {blocks_of(args.count * runs_per_row, kThreads), kThreads, 0, stream};
  return launch(dequantize_kernel, how, stored_weight(args.weight), args, runs_per_row);
}

}  // namespace llmkit::cuda
