#include <algorithm>

#include "cuda/gemm/gemm.h"
#include "cuda/linear/linear.h"
#include "cuda/lora_linear/lora_linear.h"
#include "cuda/packed_linear/packed_linear.h"

namespace llmkit::cuda {
namespace {

/// low [m, rank] = scale · dropped · aᵀ
GemmArgs low_product(const LoraWeight& w, const LoraArgs& p) {
  const size_t cols = w.weight.cols;
  GemmArgs g;
  g.m = p.m;
  g.n = w.rank;
  g.k = cols;
  g.a = {p.dropped, cols, 1};
  g.b = {w.a, cols, 1};
  g.scale = w.scale;
  g.y = p.low;
  return g;
}

/// y beside a weight that is not packed.
float* float_y(const LoraArgs& p) { return static_cast<float*>(p.y.data); }

/// y [m, rows] += low · bᵀ
GemmArgs high_product(const LoraWeight& w, const LoraArgs& p) {
  const size_t rank = w.rank;
  GemmArgs g;
  g.m = p.m;
  g.n = w.weight.rows;
  g.k = rank;
  g.a = {p.low, rank, 1};
  g.b = {w.b, rank, 1};
  g.residual = g.y = float_y(p);
  return g;
}

LinearArgs frozen_product(const LoraWeight& w, const LoraArgs& p) {
  LinearArgs args;
  args.weight = w.weight;
  args.m = p.m;
  args.x = p.x;
  args.bias = p.bias;
  args.y = float_y(p);
  return args;
}

PackedLinearArgs packed_product(const LoraArgs& p, const PackedLayer& layer) {
  PackedLinearArgs args;
  args.m = p.m;
  args.x = p.x;
  args.layers = &layer;
  args.count = 1;
  return args;
}

/// dlow [m, rank] = scale · dy · b
GemmArgs dlow_product(const LoraWeight& w, const LoraGradArgs& p, float* dlow) {
  const size_t rows = w.weight.rows, rank = w.rank;
  GemmArgs g;
  g.m = p.m;
  g.n = rank;
  g.k = rows;
  g.a = {p.dy, rows, 1};
  g.b = {w.b, 1, rank};
  g.scale = w.scale;
  g.y = dlow;
  return g;
}

/// da [rank, cols] = dlowᵀ · dropped
GemmArgs da_product(const LoraWeight& w, const LoraGradArgs& p, const float* dlow) {
  const size_t cols = w.weight.cols, rank = w.rank;
  GemmArgs g;
  g.m = rank;
  g.n = cols;
  g.k = p.m;
  g.a = {dlow, 1, rank};
  g.b = {p.dropped, 1, cols};
  g.y = p.da;
  return g;
}

/// db [rows, rank] = dyᵀ · low
GemmArgs db_product(const LoraWeight& w, const LoraGradArgs& p) {
  const size_t rows = w.weight.rows, rank = w.rank;
  GemmArgs g;
  g.m = rows;
  g.n = rank;
  g.k = p.m;
  g.a = {p.dy, 1, rows};
  g.b = {p.low, 1, rank};
  g.y = p.db;
  return g;
}

/// ddropped [m, cols] = dlow · a, or added to dx where dropped is x.
GemmArgs ddropped_product(const LoraWeight& w, const LoraGradArgs& p, const float* dlow) {
  const size_t cols = w.weight.cols, rank = w.rank;
  GemmArgs g;
  g.m = p.m;
  g.n = cols;
  g.k = rank;
  g.a = {dlow, rank, 1};
  g.b = {w.a, 1, cols};
  g.residual = p.ddropped == nullptr ? p.dx : nullptr;
  g.y = p.ddropped == nullptr ? p.dx : p.ddropped;
  return g;
}

LinearGradInputArgs frozen_gradient(const LoraWeight& w, const LoraGradArgs& p) {
  LinearGradInputArgs args;
  args.weight = w.weight;
  args.m = p.m;
  args.dy = p.dy;
  args.dx = p.dx;
  return args;
}

PackedGradInputArgs packed_gradient(const LoraWeight& w, const LoraGradArgs& p, const float* dlow) {
  PackedGradInputArgs args;
  args.m = p.m;
  args.dy = p.dy;
  args.weight = w.packed;
  args.dx = p.dx;
  if (p.ddropped == nullptr) args.update = {w.rank, dlow, w.a, w.weight.cols, 1};
  return args;
}

/// Bytes of dlow, up to where the workspace of the products begins.
size_t dlow_bytes(const LoraWeight& w, const LoraGradArgs& p) {
  return (p.m * w.rank * sizeof(float) + 255) / 256 * 256;
}

}  // namespace

size_t lora_low_workspace(const LoraWeight& w, const LoraArgs& p) {
  return gemm_workspace(low_product(w, p));
}

cudaError_t lora_low(const LoraWeight& w, const LoraArgs& p, void* workspace, cudaStream_t stream) {
  return gemm(low_product(w, p), workspace, stream);
}

PackedLayer lora_layer(const LoraWeight& w, const LoraArgs& p) {
  PackedLayer layer;
  layer.weight = w.packed;
  layer.bias = p.bias;
  layer.y = p.y;
  layer.update = {w.rank, p.low, w.b, 1, w.rank};
  return layer;
}

// The products run one after the other: they share the workspace.

size_t lora_linear_workspace(const LoraWeight& w, const LoraArgs& p) {
  const size_t low = lora_low_workspace(w, p);
  if (w.packed != nullptr)
    return std::max(low, packed_linears_workspace(packed_product(p, lora_layer(w, p))));
  return std::max(
      {low, linear_workspace(frozen_product(w, p)), gemm_workspace(high_product(w, p))});
}

cudaError_t lora_linear(const LoraWeight& w, const LoraArgs& p, void* workspace,
                        cudaStream_t stream) {
  if (p.y.is_bf16 && w.packed == nullptr) return cudaErrorInvalidValue;
  cudaError_t error = lora_low(w, p, workspace, stream);
  if (error != cudaSuccess) return error;
  if (w.packed != nullptr)
    return packed_linears(packed_product(p, lora_layer(w, p)), workspace, stream);
  error = linear(frozen_product(w, p), workspace, stream);
  if (error == cudaSuccess) error = gemm(high_product(w, p), workspace, stream);
  return error;
}

size_t lora_linear_grad_workspace(const LoraWeight& w, const LoraGradArgs& p) {
  size_t most =
      std::max({gemm_workspace(dlow_product(w, p, nullptr)),
                gemm_workspace(da_product(w, p, nullptr)), gemm_workspace(db_product(w, p))});
  if (w.packed != nullptr)
    most = std::max(most, packed_grad_input_workspace(packed_gradient(w, p, nullptr)));
  else
    most = std::max(most, linear_grad_input_workspace(frozen_gradient(w, p)));
  return dlow_bytes(w, p) + std::max(most, gemm_workspace(ddropped_product(w, p, nullptr)));
}

cudaError_t lora_linear_grad(const LoraWeight& w, const LoraGradArgs& p, void* workspace,
                             cudaStream_t stream) {
  float* const dlow = static_cast<float*>(workspace);
  void* const rest = static_cast<char*>(workspace) + dlow_bytes(w, p);
  const bool packed = w.packed != nullptr;
  cudaError_t error = gemm(dlow_product(w, p, dlow), rest, stream);
  if (error == cudaSuccess) error = gemm(da_product(w, p, dlow), rest, stream);
  if (error == cudaSuccess) error = gemm(db_product(w, p), rest, stream);
  if (error == cudaSuccess)
    error = packed ? packed_grad_input(packed_gradient(w, p, dlow), rest, stream)
                   : linear_grad_input(frozen_gradient(w, p), rest, stream);
  const bool fused = packed && p.ddropped == nullptr;
  if (error == cudaSuccess && !fused) error = gemm(ddropped_product(w, p, dlow), rest, stream);
  return error;
}

}  // namespace llmkit::cuda
