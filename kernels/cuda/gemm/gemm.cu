#include <algorithm>

#include "cuda/base/launch.h"
#include "cuda/gemm/gemm.h"
#include "cuda/gemm/tile.h"

namespace llmkit::cuda {
namespace {

/// Blocks that fill a GPU well enough; the narrow ones wait for memory, of which each asks for
/// little at a time.
constexpr size_t kEnoughBlocks = 128, kEnoughNarrowBlocks = 512;
constexpr int kAddThreads = 256;

/// Adds the slices of every output in order.
__global__ void __launch_bounds__(kAddThreads) add_slices_kernel(GemmProblem g) {
  const size_t index = size_t{blockIdx.x} * kAddThreads + threadIdx.x, size = g.i * g.j;
  if (index >= g.batch * size) return;
  float sum = 0.0f;
#pragma unroll
  for (int slice = 0; slice < kGemmSlices; ++slice)
    sum += g.partials[slice * g.batch * size + index];
  const size_t matrix = index / size, i = index % g.i, j = index % size / g.i;
  const size_t place = matrix * size + i * g.y_i + j * g.y_j;
  g.y[place] = gemm_finish(g, sum, i, place);
}

/// What is launched for a product.
struct Plan {
  GemmProblem problem;
  GemmPick pick;
  bool by_slices;
};

template <class Shape>
size_t blocks_for(const GemmProblem& g) {
  return size_t{blocks_of(g.i, Shape::kI)} * blocks_of(g.j, Shape::kJ) * g.batch;
}

Plan plan_of(const GemmArgs& args) {
  GemmProblem g = {};
  g.p = args.b;
  g.q = args.a;
  g.weight_is = args.weight_is;
  if (args.weight_is != GemmWeight::kNone) {
    if (args.weight.format == WeightFormat::kF32) {  // an operand like any other
      const bool rows = args.weight_is == GemmWeight::kRows;
      g.p = {reinterpret_cast<const float*>(args.weight.codes), rows ? args.weight.cols : 1,
             rows ? 1 : args.weight.cols};
      g.weight_is = GemmWeight::kNone;
    } else {
      g.weight = stored_weight(args.weight);
    }
  }
  g.batch = args.batch;
  g.i = args.n;
  g.j = args.m;
  g.k = args.k;
  g.y = args.y;
  g.y_i = 1;
  g.y_j = args.n;
  g.bias = args.bias;
  g.residual = args.residual;
  g.scale = args.scale;
  const bool dense = g.weight_is == GemmWeight::kNone;
  if (dense && g.bias == nullptr && g.i <= 16 && g.j > 16) {  // the narrow side is j
    std::swap(g.p, g.q);
    std::swap(g.i, g.j);
    std::swap(g.y_i, g.y_j);
  }
  Plan plan = {g, GemmPick::kLarge, false};
  size_t blocks = blocks_for<Large>(g), enough = kEnoughBlocks;
  if (g.j <= 16) {
    plan.pick = g.j <= 4 ? GemmPick::kThin : GemmPick::kNarrow;
    blocks = blocks_for<Narrow>(g);
    enough = kEnoughNarrowBlocks;
  } else if (blocks < kEnoughBlocks) {
    plan.pick = GemmPick::kMedium;
    blocks = blocks_for<Medium>(g);
  }
  plan.by_slices = blocks < enough && g.k > 4 * kDepth;
  return plan;
}

}  // namespace

size_t gemm_workspace(const GemmArgs& args) {
  if (!plan_of(args).by_slices) return 0;
  return kGemmSlices * args.batch * args.m * args.n * sizeof(float);
}

cudaError_t gemm(const GemmArgs& args, void* workspace, cudaStream_t stream) {
  Plan plan = plan_of(args);
  GemmProblem& g = plan.problem;
  const size_t outputs = g.batch * g.i * g.j;
  if (outputs == 0) return cudaSuccess;
  if (plan.by_slices) g.partials = static_cast<float*>(workspace);
  const cudaError_t error =
      (g.weight_is == GemmWeight::kNone ? gemm_dense : gemm_stored)(g, plan.pick, stream);
  if (error != cudaSuccess || !plan.by_slices) return error;
  return launch(add_slices_kernel, {blocks_of(outputs, kAddThreads), kAddThreads, 0, stream}, g);
}

}  // namespace llmkit::cuda
