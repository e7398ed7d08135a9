#pragma once

#include "binding/arguments.h"
#include "cpu/activation/activation.h"
#include "cpu/norm/norm.h"
#include "cpu/rope/rope.h"

// What the layers that hold no weight matrix are called with, on every device.

namespace llmkit::binding {

/// The arguments that the norms share: x, weight, eps at `eps_index`.
inline NormArgs norm_arguments(const Arguments& args, size_t eps_index, bool centered) {
  const StoredElements x = args.elements(0);
  const Floats weight = args.floats(1);
  const size_t rows = args.quotient(x.size, weight.size, "x");
  return {rows, weight.size, x.values, weight.data, args.real(eps_index), centered};
}

/// What a norm's gradient is called with from dy on, at argument 3.
struct NormGradients {
  const float* dy;
  float *dx, *dweight, *dbias;
};
inline NormGradients norm_gradients(const Arguments& args, const NormArgs& p) {
  const size_t size = p.rows * p.cols;
  float* const dbias = p.centered ? args.optional_floats(6, p.cols, "dbias").data : nullptr;
  return {args.floats(3, size, "dy").data, args.optional_floats(4, size, "dx").data,
          args.optional_floats(5, p.cols, "dweight").data, dbias};
}

/// rope(x, cos, sin, y, heads, headSize, inverse)
inline RopeArgs rope_arguments(const Arguments& args) {
  RopeArgs p;
  p.heads = args.positive(4, "heads");
  p.head_size = args.positive(5, "headSize");
  p.inverse = args.flag(6);
  const StoredElements x = args.elements(0);
  const Floats cos = args.floats(1);
  p.positions = args.quotient(x.size, args.product({p.heads, p.head_size}), "x");
  p.half = p.positions == 0 ? 0 : args.quotient(cos.size, p.positions, "cos");
  if (2 * p.half > p.head_size) args.range_error("cos is wider than half a head");
  p.x = x.values;
  p.cos = cos.data;
  p.sin = args.floats(2, cos.size, "sin").data;
  p.y = args.output_elements(3, x.size, "y");
  return p;
}

inline Activation activation_argument(const Arguments& args) {
  return static_cast<Activation>(args.choice(0, kActivationNames));
}

/// gatedMlpGrad(name, gate, up, dy, dgate, dup); sets `n` to the number of elements.
inline GatedMlpGrad gated_grad_arguments(const Arguments& args, size_t& n) {
  const StoredElements gate = args.elements(1);
  n = gate.size;
  return {gate.values, args.elements(2, n, "up"), args.floats(3, n, "dy").data,
          args.floats(4, n, "dgate").data, args.floats(5, n, "dup").data};
}

}  // namespace llmkit::binding
