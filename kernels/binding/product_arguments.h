#pragma once

#include <algorithm>

#include "binding/arguments.h"
#include "cpu/lora_linear/lora_linear.h"
#include "cpu/matmul/matmul.h"

// What products of matrices are called with, on every device.

namespace llmkit::binding {

/// matmul(a, b, y, batchA, batchB, m, n, k, transposeA, transposeB)
inline MatmulArgs matmul_arguments(const Arguments& args) {
  MatmulArgs p;
  p.batch_a = args.positive(3, "batchA");
  p.batch_b = args.positive(4, "batchB");
  p.m = args.size(5, "m");
  p.n = args.size(6, "n");
  p.k = args.size(7, "k");
  const size_t batch = std::max(p.batch_a, p.batch_b);
  p.transpose_a = args.flag(8);
  p.transpose_b = args.flag(9);
  p.a = args.floats(0, args.product({p.batch_a, p.m, p.k}), "a").data;
  p.b = args.floats(1, args.product({p.batch_b, p.k, p.n}), "b").data;
  p.y = args.floats(2, args.product({batch, p.m, p.n}), "y").data;
  return p;
}

/// A weight at `index` with a, b and scale at `pair` and after it; not the packed form, which each
/// device has its own of.
template <class Weight>
Weight lora_weight(const Arguments& args, size_t index, size_t pair, size_t cols) {
  Weight w;
  w.weight = args.matrix(index, cols);
  w.packed = nullptr;
  const Floats a = args.floats(pair);
  w.rank = args.quotient(a.size, cols, "a");
  w.a = a.data;
  w.b = args.floats(pair + 1, args.product({w.weight.rows, w.rank}), "b").data;
  w.scale = args.real(pair + 2);
  return w;
}

/// loraLinear(x, dropped, weight, a, b, scale, bias, y, low, cols)
template <class Weight>
LoraArgs lora_arguments(const Arguments& args, const Weight& w) {
  const size_t rows = w.weight.rows;
  const StoredElements x = args.elements(0);
  LoraArgs p;
  p.m = args.quotient(x.size, w.weight.cols, "x");
  p.x = x.values;
  p.dropped = args.elements(1, x.size, "dropped");
  p.bias = args.optional_floats(6, rows, "bias").data;
  p.y = args.output_elements(7, args.product({p.m, rows}), "y");
  p.low = args.floats(8, args.product({p.m, w.rank}), "low").data;
  return p;
}

/// loraLinearGrad(dy, dropped, low, weight, a, b, scale, dx, ddropped, da, db, cols)
template <class Weight>
LoraGradArgs lora_grad_arguments(const Arguments& args, const Weight& w) {
  const size_t rows = w.weight.rows, cols = w.weight.cols;
  const StoredElements dropped = args.elements(1);
  LoraGradArgs p;
  p.m = args.quotient(dropped.size, cols, "dropped");
  p.dy = args.floats(0, args.product({p.m, rows}), "dy").data;
  p.dropped = dropped.values;
  p.low = args.floats(2, args.product({p.m, w.rank}), "low").data;
  p.dx = args.floats(7, dropped.size, "dx").data;
  p.ddropped = args.optional_floats(8, dropped.size, "ddropped").data;
  p.da = args.floats(9, w.rank * cols, "da").data;
  p.db = args.floats(10, rows * w.rank, "db").data;
  return p;
}

}  // namespace llmkit::binding
