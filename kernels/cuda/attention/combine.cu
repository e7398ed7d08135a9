#include "cuda/attention/kernels.h"
#include "cuda/base/launch.h"

namespace llmkit::cuda {
namespace {

/// Parts that a thread asks for before it adds the first of them.
constexpr int kAhead = 8;

/// A block for each query and head, a thread for each column: the parts of the blocks of keys that
/// the query sees, in ascending order.
template <bool kRounded>
__global__ void combine_kernel(AttentionParams p, Parts parts, Elements y, float* log_sum_exp) {
  wait_for_inputs();
  let_next_begin();
  const size_t query = blockIdx.x, position = query / p.H;
  const int keys = number_of_keys(p, static_cast<int>(position / p.T));
  const int first = max(p.first[position], 0), last = min(p.last[position], keys - 1);
  const int thread = threadIdx.x, column = min(thread, p.E - 1);
  Softmax all = empty_softmax();
  float value = 0;
  // Nothing is seen where last < first.
  const int end = last < first ? 0 : last / kBlockKeys + 1;
  for (int block = first / kBlockKeys; block < end; block += kAhead) {
    Softmax softmax[kAhead];
    float part[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const size_t at = parts.at(query, min(block + i, end - 1));
      softmax[i] = parts.softmaxes[at];
      part[i] = parts.values[at * p.E + column];
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (block + i >= end) break;
      const Rescale factors = add_block<kRounded>(all, softmax[i]);
      value = fmaf(part[i], factors.block, value * factors.before);
    }
  }
  if (thread < p.E) store_element(y, query * p.E + column, value * inverse_total<kRounded>(all));
  if (log_sum_exp != nullptr && thread == 0) log_sum_exp[query] = log_of_sum<kRounded>(all);
}

}  // namespace

cudaError_t combine_parts(const AttentionParams& p, const Parts& parts, size_t B, bool rounded,
                          const Elements& y, float* log_sum_exp, cudaStream_t stream) {
  const unsigned threads = blocks_of(p.E, kWarp) * kWarp;
  Launch how = {dim3(static_cast<unsigned>(B * p.T * p.H)), dim3(threads), 0, stream};
  how.early = true;
  return launch(rounded ? combine_kernel<true> : combine_kernel<false>, how, p, parts, y,
                log_sum_exp);
}

}  // namespace llmkit::cuda
