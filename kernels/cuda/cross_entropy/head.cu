#include <algorithm>

#include "cuda/cross_entropy/head.h"
#include "cuda/gemm/gemm.h"
#include "cuda/gemm_bf16/gemm_bf16.h"
#include "cuda/linear/linear.h"
#include "cuda/packed_linear/packed_linear.h"

namespace llmkit::cuda {
namespace {

/// The products in float32, with a stored weight.
struct StoredProducts {
  LinearArgs logits;
  LinearGradInputArgs grad_input;

  StoredProducts(const Head& head, const HeadRows& rows, float* dh) {
    logits.weight = grad_input.weight = head.weight;
    logits.m = grad_input.m = rows.m;
    logits.x = rows.h;
    logits.bias = head.bias;
    logits.y = rows.logits;
    grad_input.dy = rows.logits;
    grad_input.dx = dh;
  }
};

GemmArgs stored_grad_weight(const Head& head, const HeadRows& rows, bool more, float* dweight) {
  GemmArgs p;
  p.m = head.words();
  p.n = head.cols();
  p.k = rows.m;
  p.a.values = rows.logits;
  p.a.row_step = 1;
  p.a.k_step = head.words();
  p.b.values = rows.h;
  p.b.row_step = 1;
  p.b.k_step = head.cols();
  p.residual = more ? dweight : nullptr;
  p.y = dweight;
  return p;
}

/// The products in bf16, with a packed weight.
struct PackedProducts {
  PackedLayer layer;
  PackedLinearArgs logits;
  PackedGradInputArgs grad_input;

  PackedProducts(const Head& head, const HeadRows& rows, float* dh) {
    layer.weight = grad_input.weight = head.packed;
    layer.bias = head.bias;
    layer.y = rows.logits;
    logits.m = grad_input.m = rows.m;
    logits.x = rows.h;
    logits.layers = &layer;
    logits.count = 1;
    grad_input.dy = rows.logits;
    grad_input.dx = dh;
  }
  PackedProducts(const PackedProducts&) = delete;  // logits points here
};

/// The products in bf16 with a weight that is trained: it is rounded once, and lies before the
/// rounded rows.
struct RoundedProducts {
  bf16 *weight, *h, *logits;

  RoundedProducts(const Head& head, size_t m, void* workspace)
      : weight(static_cast<bf16*>(workspace)),
        h(weight + bf16_bytes(head.words(), head.cols()) / sizeof(bf16)),
        logits(h + bf16_bytes(m, head.cols()) / sizeof(bf16)) {}

  static size_t workspace(const Head& head, size_t m) {
    return bf16_bytes(head.words(), head.cols()) + bf16_bytes(m, head.cols()) +
           bf16_bytes(m, head.words());
  }
};

const float* dense_values(const WeightView& weight) {
  return reinterpret_cast<const float*>(weight.codes);
}

cudaError_t rounded_logits(const Head& head, const HeadRows& rows, void* workspace,
                           cudaStream_t stream) {
  const RoundedProducts places(head, rows.m, workspace);
  Bf16GemmArgs p;
  p.m = rows.m;
  p.n = head.words();
  p.k = head.cols();
  p.a = {places.h, bf16_step(p.k), false};
  p.b = {places.weight, bf16_step(p.k), false};
  p.bias = head.bias;
  p.y = rows.logits;
  const cudaError_t error = round_to_bf16(rows.h, rows.m, p.k, places.h, stream);
  return error == cudaSuccess ? gemm_bf16(p, stream) : error;
}

cudaError_t rounded_grad_input(const Head& head, const HeadRows& rows, float* dh, void* workspace,
                               cudaStream_t stream) {
  const RoundedProducts places(head, rows.m, workspace);
  Bf16GemmArgs p;
  p.m = rows.m;
  p.n = head.cols();
  p.k = head.words();
  p.a = {places.logits, bf16_step(p.k), false};
  p.b = {places.weight, bf16_step(p.n), true};
  p.y = dh;
  const cudaError_t error = round_to_bf16(rows.logits, rows.m, p.k, places.logits, stream);
  return error == cudaSuccess ? gemm_bf16(p, stream) : error;
}

/// The rows are rounded again: they may be those of another pass.
cudaError_t rounded_grad_weight(const Head& head, const HeadRows& rows, bool more, float* dweight,
                                void* workspace, cudaStream_t stream) {
  const RoundedProducts places(head, rows.m, workspace);
  Bf16GemmArgs p;
  p.m = head.words();
  p.n = head.cols();
  p.k = rows.m;
  p.a = {places.logits, bf16_step(p.m), true};
  p.b = {places.h, bf16_step(p.n), true};
  p.residual = more ? dweight : nullptr;
  p.y = dweight;
  cudaError_t error = round_to_bf16(rows.logits, rows.m, p.m, places.logits, stream);
  if (error == cudaSuccess) error = round_to_bf16(rows.h, rows.m, p.n, places.h, stream);
  return error == cudaSuccess ? gemm_bf16(p, stream) : error;
}

}  // namespace

size_t head_workspace(const Head& head, size_t m, bool trained) {
  const HeadRows rows = {m, nullptr, nullptr};
  if (head.packed != nullptr) {
    const PackedProducts products(head, rows, nullptr);
    return std::max(packed_linears_workspace(products.logits),
                    packed_grad_input_workspace(products.grad_input));
  }
  if (head.rounded) return RoundedProducts::workspace(head, m);
  const StoredProducts products(head, rows, nullptr);
  const size_t rows_bytes =
      std::max(linear_workspace(products.logits), linear_grad_input_workspace(products.grad_input));
  if (!trained) return rows_bytes;
  // A sum over fewer rows may be cut in as many slices.
  return std::max(rows_bytes, gemm_workspace(stored_grad_weight(head, rows, true, nullptr)));
}

cudaError_t prepare_head(const Head& head, size_t m, void* workspace, cudaStream_t stream) {
  if (head.packed != nullptr || !head.rounded) return cudaSuccess;
  const RoundedProducts places(head, m, workspace);
  return round_to_bf16(dense_values(head.weight), head.words(), head.cols(), places.weight, stream);
}

cudaError_t head_logits(const Head& head, const HeadRows& rows, void* workspace,
                        cudaStream_t stream) {
  if (head.packed != nullptr)
    return packed_linears(PackedProducts(head, rows, nullptr).logits, workspace, stream);
  if (head.rounded) return rounded_logits(head, rows, workspace, stream);
  return linear(StoredProducts(head, rows, nullptr).logits, workspace, stream);
}

cudaError_t head_grad_input(const Head& head, const HeadRows& rows, float* dh, void* workspace,
                            cudaStream_t stream) {
  if (head.packed != nullptr)
    return packed_grad_input(PackedProducts(head, rows, dh).grad_input, workspace, stream);
  if (head.rounded) return rounded_grad_input(head, rows, dh, workspace, stream);
  return linear_grad_input(StoredProducts(head, rows, dh).grad_input, workspace, stream);
}

cudaError_t head_grad_weight(const Head& head, const HeadRows& rows, bool more, float* dweight,
                             void* workspace, cudaStream_t stream) {
  if (head.rounded) return rounded_grad_weight(head, rows, more, dweight, workspace, stream);
  return gemm(stored_grad_weight(head, rows, more, dweight), workspace, stream);
}

}  // namespace llmkit::cuda
