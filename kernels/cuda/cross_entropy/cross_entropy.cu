#include <algorithm>

#include "cuda/base/launch.h"
#include "cuda/base/report_wrong_id.h"
#include "cuda/cross_entropy/cross_entropy.h"

namespace llmkit::cuda {
namespace {

constexpr unsigned kThreads = 512;
constexpr size_t kAtOnce = 4;
constexpr float kInfinity = __builtin_huge_valf();

/// The largest of some logits, and the sum of e^(logit - largest).
struct SumExp {
  float most = -kInfinity, sum = 0;

  /// What is subtracted in an exponent: nothing while all are minus infinity.
  static __device__ float shift(float most) { return most == -kInfinity ? 0.0f : most; }

  __device__ void add(const float (&x)[kAtOnce]) {
    const float top = fmaxf(fmaxf(x[0], x[1]), fmaxf(x[2], x[3]));
    if (top > most) {
      sum *= expf(most - top);
      most = top;
    }
    const float from = shift(most);
    for (const float value : x) sum += expf(value - from);
  }
  /// The same bits whichever of the two is asked.
  __device__ void join(const SumExp& other) {
    const float top = fmaxf(most, other.most), from = shift(top);
    sum = sum * expf(most - from) + other.sum * expf(other.most - from);
    most = top;
  }
  __device__ void join_warp() {
    for (int apart = kWarp / 2; apart > 0; apart /= 2) {
      SumExp other;
      other.most = __shfl_xor_sync(kAllLanes, most, apart);
      other.sum = __shfl_xor_sync(kAllLanes, sum, apart);
      join(other);
    }
  }
};

/// Of a whole block: lanes 16, 8, 4, 2 and 1 apart, then the warps in the same way. Warp 0 gets it.
__device__ SumExp join_block(SumExp part) {
  __shared__ float most[kThreads / kWarp], sums[kThreads / kWarp];
  const unsigned warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  part.join_warp();
  if (lane == 0) {
    most[warp] = part.most;
    sums[warp] = part.sum;
  }
  __syncthreads();
  SumExp all;
  if (warp != 0) return all;
  if (lane < kThreads / kWarp) {
    all.most = most[lane];
    all.sum = sums[lane];
  }
  all.join_warp();
  return all;
}

/// Some rows of a call.
struct Rows {
  size_t words;
  float* logits;           // [rows, words]
  const int32_t* targets;  // [rows]
};

/// A block for each row.
__global__ void __launch_bounds__(kThreads)
    losses_kernel(Rows p, float* losses, float* log_sum_exp, IdReport* report) {
  const size_t row = blockIdx.x;
  const int32_t target = p.targets[row];
  const bool known = target >= -1 && target < static_cast<int64_t>(p.words);
  if (!known && threadIdx.x == 0) report_wrong_id(report, target, p.words);
  if (target < 0) {
    if (threadIdx.x == 0) losses[row] = log_sum_exp[row] = 0;
    return;
  }
  const float* const logits = p.logits + row * p.words;
  SumExp part;
  for (size_t i = threadIdx.x; i < p.words; i += kAtOnce * kThreads) {
    float x[kAtOnce];
    for (size_t j = 0; j < kAtOnce; ++j)
      x[j] = i + j * kThreads < p.words ? logits[i + j * kThreads] : -kInfinity;
    part.add(x);
  }
  part = join_block(part);
  if (threadIdx.x != 0) return;
  const float total = part.most + logf(part.sum);
  log_sum_exp[row] = total;
  // A target that is no word must not read outside; its loss says so.
  losses[row] = known ? total - logits[target] : __builtin_nanf("");
}

/// logit = (e^(logit - log_sum_exp) - [it is the target]) · dloss
__global__ void __launch_bounds__(kThreads)
    dlogits_kernel(Rows p, const float* log_sum_exp, const float* dlosses) {
  const size_t row = blockIdx.y;
  const int32_t target = p.targets[row];
  float* const logits = p.logits + row * p.words;
  const float shift = log_sum_exp[row], scale = dlosses[row];
  for (size_t j = 0; j < kAtOnce; ++j) {
    const size_t i = (size_t{blockIdx.x} * kAtOnce + j) * kThreads + threadIdx.x;
    if (i >= p.words) return;
    const float share = expf(logits[i] - shift) * scale;
    const float value = static_cast<int64_t>(i) == target ? share - scale : share;
    logits[i] = target < 0 ? 0.0f : value;
  }
}

/// dbias (+)= the sum of the rows of dlogits, in order.
__global__ void __launch_bounds__(kThreads)
    dbias_kernel(Rows p, size_t rows, bool more, float* dbias) {
  const size_t word = size_t{blockIdx.x} * kThreads + threadIdx.x;
  if (word >= p.words) return;
  float sum = more ? dbias[word] : 0.0f;
  for (size_t row = 0; row < rows; ++row) sum += p.logits[row * p.words + word];
  dbias[word] = sum;
}

/// Rows whose logits are made together. What a row gives does not depend on it; dweight, a sum over
/// all rows, is added up in pieces of so many.
size_t rows_at_once(const CrossEntropyArgs& p) {
  constexpr size_t kWhole = 64;        // whole tiles of the products
  constexpr size_t kMostRows = 65535;  // of a grid's y
  const size_t fit = p.most_logits / std::max<size_t>(1, p.head.words());
  const size_t rows = std::min(fit, kMostRows) / kWhole * kWhole;
  return std::min(p.m, std::max(kWhole, rows));
}

/// The logits come first in the workspace.
size_t logits_bytes(const CrossEntropyArgs& p) {
  constexpr size_t kAlign = 256;
  const size_t bytes = rows_at_once(p) * p.head.words() * sizeof(float);
  return (bytes + kAlign - 1) / kAlign * kAlign;
}

/// Queues kernels for the rows of one call, a pass at a time.
struct Passes {
  const CrossEntropyArgs& p;
  float* logits;
  char* products;  // workspace of the head's
  cudaStream_t stream;

  Passes(const CrossEntropyArgs& args, void* workspace, cudaStream_t stream)
      : p(args),
        logits(static_cast<float*>(workspace)),
        products(static_cast<char*>(workspace) + logits_bytes(args)),
        stream(stream) {}

  /// Calls body(first row, rows) once the logits of a pass are queued; stops when one fails.
  template <class Body>
  cudaError_t run(const Body& body) const {
    const size_t most = rows_at_once(p);
    cudaError_t error = prepare_head(p.head, most, products, stream);
    for (size_t row = 0; row < p.m && error == cudaSuccess; row += most) {
      const HeadRows rows = {std::min(most, p.m - row), p.h + row * p.head.cols(), logits};
      error = head_logits(p.head, rows, products, stream);
      if (error == cudaSuccess) error = body(row, rows);
    }
    return error;
  }

  cudaError_t losses(size_t row, const HeadRows& rows, float* losses, float* log_sum_exp) const {
    const Rows part = {p.head.words(), logits, p.targets + row};
    const Launch how = {dim3(static_cast<unsigned>(rows.m)), dim3(kThreads), 0, stream};
    return launch(losses_kernel, how, part, losses + row, log_sum_exp + row, p.report);
  }

  cudaError_t gradients(size_t row, const HeadRows& rows, const CrossEntropyGradArgs& g) const {
    const Rows part = {p.head.words(), logits, p.targets + row};
    const dim3 grid(blocks_of(part.words, kAtOnce * kThreads), static_cast<unsigned>(rows.m));
    cudaError_t error = launch(dlogits_kernel, {grid, dim3(kThreads), 0, stream}, part,
                               g.log_sum_exp + row, g.dlosses + row);
    if (error == cudaSuccess)
      error = head_grad_input(p.head, rows, g.dh + row * p.head.cols(), products, stream);
    if (error == cudaSuccess && g.dweight != nullptr)
      error = head_grad_weight(p.head, rows, row > 0, g.dweight, products, stream);
    if (error == cudaSuccess && g.dbias != nullptr)
      error =
          launch(dbias_kernel, {dim3(blocks_of(part.words, kThreads)), dim3(kThreads), 0, stream},
                 part, rows.m, row > 0, g.dbias);
    return error;
  }
};

}  // namespace

size_t cross_entropy_workspace(const CrossEntropyArgs& p) {
  return logits_bytes(p) + head_workspace(p.head, rows_at_once(p), false);
}

cudaError_t cross_entropy(const CrossEntropyArgs& p, float* losses, float* log_sum_exp,
                          void* workspace, cudaStream_t stream) {
  const Passes passes(p, workspace, stream);
  return passes.run([&](size_t row, const HeadRows& rows) {
    return passes.losses(row, rows, losses, log_sum_exp);
  });
}

size_t cross_entropy_grad_workspace(const CrossEntropyArgs& p, const CrossEntropyGradArgs& g) {
  return logits_bytes(p) + head_workspace(p.head, rows_at_once(p), g.dweight != nullptr);
}

cudaError_t cross_entropy_grad(const CrossEntropyArgs& p, const CrossEntropyGradArgs& g,
                               void* workspace, cudaStream_t stream) {
  const size_t words = p.head.words();
  if (p.m == 0) {  // nothing to add up
    cudaError_t error = cudaSuccess;
    if (g.dweight != nullptr)
      error = cudaMemsetAsync(g.dweight, 0, words * p.head.cols() * sizeof(float), stream);
    if (error == cudaSuccess && g.dbias != nullptr)
      error = cudaMemsetAsync(g.dbias, 0, words * sizeof(float), stream);
    return error;
  }
  const Passes passes(p, workspace, stream);
  return passes.run(
      [&](size_t row, const HeadRows& rows) { return passes.gradients(row, rows, g); });
}

}  // namespace llmkit::cuda
