#include "cuda/attention/kernels.h"
#include "cuda/attention/read_rows.h"
#include "cuda/base/instructions.h"
#include "cuda/base/launch.h"

namespace llmkit::cuda {
namespace {

constexpr int kThreads = 256;

/// A thread for every 8 values of a row, of one head of one sequence.
__global__ void round_rows_kernel(KeyRows rows, RoundedRows to) {
  const size_t chunks = to.width / 8, head = blockIdx.y, b = blockIdx.z;
  const size_t i = static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x;
  const size_t row = i / chunks, from = i % chunks * 8;
  if (row >= to.count || (to.positions != nullptr && row >= to.positions[b] + to.T)) return;
  float x[8];
  read_row(rows, b, head, row, from, x);
  const size_t begin = ((b * to.heads + head) * to.count + row) * to.width;
  if (to.only_finite)
    for (float& value : x)
      if (!is_finite_bf16(value)) {
        value = 0;
        if (to.marked != nullptr) to.marked[begin] = __float2bfloat16_rn(NAN);
      }
  *reinterpret_cast<uint4*>(to.rows + begin + from) = packed(x, to.factor);
}

/// One block for each sequence of a batch; a thread looks back from its query for the start.
__global__ void starts_kernel(const int32_t* first, const int32_t* last, int32_t* starts, int T) {
  __shared__ int found[kThreads], before;
  first += static_cast<size_t>(blockIdx.x) * T;
  last += static_cast<size_t>(blockIdx.x) * T;
  starts += static_cast<size_t>(blockIdx.x) * T;
  const int thread = threadIdx.x;
  if (thread == 0) before = -1;
  for (int begin = 0; begin < T; begin += kThreads) {
    const int t = begin + thread;
    const bool start = t > 0 && t < T && last[t] >= first[t] && first[t] > last[t - 1];
    found[thread] = start ? t : -1;
    __syncthreads();
    for (int apart = 1; apart < kThreads; apart *= 2) {
      const int other = thread >= apart ? found[thread - apart] : -1;
      __syncthreads();
      found[thread] = max(found[thread], other);
      __syncthreads();
    }
    const int nearest = max(found[thread], before);
    if (t < T) starts[t] = nearest < 0 ? 0 : first[nearest];
    __syncthreads();
    if (thread == kThreads - 1) before = nearest;
    __syncthreads();
  }
}

}  // namespace

cudaError_t round_rows(const KeyRows& rows, const RoundedRows& to, cudaStream_t stream) {
  const size_t chunks = to.count * to.width / 8;
  const Launch how = {dim3(blocks_of(chunks, kThreads), static_cast<unsigned>(to.heads),
                           static_cast<unsigned>(to.batch)),
                      dim3(kThreads), 0, stream};
  return launch(round_rows_kernel, how, rows, to);
}

cudaError_t find_starts(const int32_t* first, const int32_t* last, size_t B, size_t T,
                        int32_t* starts, cudaStream_t stream) {
  const Launch how = {dim3(static_cast<unsigned>(B)), dim3(kThreads), 0, stream};
  return launch(starts_kernel, how, first, last, starts, static_cast<int>(T));
}

}  // namespace llmkit::cuda
