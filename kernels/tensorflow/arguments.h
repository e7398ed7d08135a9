#pragma once

#include <string>

#include "cpu/activation/activation.h"
#include "cpu/lora_linear/lora_linear.h"
#include "cpu/norm/norm.h"
#include "cpu/rope/rope.h"
#include "tensorflow/op.h"

// What ops make of their attributes, inputs and outputs, the same through TensorFlow's C API on the
// CPU and through its C++ API on a GPU: Attributes and Call are those of either.

namespace llmkit::tensorflow {

/// Root mean square (kCentered false) or layer normalisation.
template <bool kCentered>
struct NormOp {
  template <typename Attributes>
  explicit NormOp(const Attributes& attributes) : eps(attributes.real("eps")) {}

  NormArgs arguments(const Input<const float>& x, const Input<const float>& weight) const {
    return {quotient(x.size, weight.size, "x"), weight.size, x.data, weight.data, eps, kCentered};
  }

  float eps;
};

/// Inputs x [B, T, H, E], cos and sin [B, T, R/2].
template <typename Call>
RopeArgs rope_arguments(Call& call, bool inverse) {
  const Input<const float> x = call.floats(0), cos = call.floats(1);
  if (x.shape.size() != 4 || cos.shape.size() != 3)
    throw OpError("x must be [B, T, H, E], cos [B, T, R/2]");
  RopeArgs p = {};
  p.positions = static_cast<size_t>(x.shape[0] * x.shape[1]);
  p.heads = static_cast<size_t>(x.shape[2]);
  p.head_size = static_cast<size_t>(x.shape[3]);
  p.half = static_cast<size_t>(cos.shape[2]);
  expect(cos.size, p.positions * p.half, "cos");
  if (2 * p.half > p.head_size) throw OpError("cos is wider than half a head");
  p.x = x.data;
  p.cos = cos.data;
  p.sin = call.floats(2, cos.size, "sin");
  p.y = call.output(0, x.shape);
  p.inverse = inverse;
  return p;
}

/// The angles of a step of a cache, of `places` tokens with heads of E values: inputs 5 and 6,
/// empty where there are none.
template <typename Step, typename Call>
void add_angles(Call& call, size_t places, size_t E, Step* step) {
  const Input<const float> cos = call.floats(5);
  if (cos.size == 0) return;
  step->half = quotient(cos.size, places, "cos");
  if (2 * step->half > E) throw OpError("cos is wider than half a head");
  step->cos = cos.data;
  step->sin = call.floats(6, cos.size, "sin");
}

/// The activation is its place in kActivationNames.
template <typename Attributes>
Activation activation_of(const Attributes& attributes) {
  const int64_t place = attributes.integer("activation");
  if (place < 0 || place >= static_cast<int64_t>(kActivations))
    throw OpError("there is no activation " + std::to_string(place));
  return static_cast<Activation>(place);
}

inline Shape matrix_shape(size_t rows, size_t cols) {
  return {static_cast<int64_t>(rows), static_cast<int64_t>(cols)};
}

/// y = x · weightᵀ + bias + low · bᵀ, low [M, rank] = scale · dropped · aᵀ, for a weight
/// [rows, cols]: inputs x, dropped (empty: x), a, b, bias.
template <typename Call>
LoraArgs lora_arguments(Call& call, size_t rows, size_t cols, size_t rank) {
  const Input<const float> x = call.floats(0);
  LoraArgs p = {};
  p.m = quotient(x.size, cols, "x");
  p.x = x.data;
  const float* const dropped = call.optional_floats(1, x.size, "dropped");
  p.dropped = dropped == nullptr ? x.data : dropped;
  p.bias = call.optional_floats(4, rows, "bias");
  p.y = call.output(0, with_last(x.shape, rows));
  p.low = call.output(1, matrix_shape(p.m, rank));
  return p;
}

/// Gradients of x, a, b, and of dropped unless it was x (`whole`): then that output is empty.
/// Inputs dy, dropped, low, a, b.
template <typename Call>
LoraGradArgs lora_grad_arguments(Call& call, size_t rows, size_t cols, size_t rank, bool whole) {
  const Input<const float> dropped = call.floats(1);
  LoraGradArgs p = {};
  p.m = quotient(dropped.size, cols, "dropped");
  p.dy = call.floats(0, p.m * rows, "dy");
  p.dropped = dropped.data;
  p.low = call.floats(2, p.m * rank, "low");
  p.dx = call.output(0, dropped.shape);
  p.da = call.output(1, matrix_shape(rank, cols));
  p.db = call.output(2, matrix_shape(rows, rank));
  float* const ddropped = call.output(3, whole ? Shape{0} : dropped.shape);
  p.ddropped = whole ? nullptr : ddropped;
  return p;
}

}  // namespace llmkit::tensorflow
