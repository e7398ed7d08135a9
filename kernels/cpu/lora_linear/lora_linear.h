#pragma once

#include <cstddef>

#include "base/elements.h"
#include "base/packed_weight.h"
#include "base/weight_view.h"

namespace llmkit {

/// A frozen weight [rows, cols] with a low-rank one beside it, https://arxiv.org/abs/2106.09685:
/// scale · b · a. Beside float32 and integers the pair is multiplied in float32; under kBf16 x is
/// rounded for it as for the weight, and a, b and low are taken as sums of two bf16 values
/// (cpu/split), with float32 sums. Gradients beside a packed weight round dy and x and split the rest
/// in the same way.
struct LoraWeight {
  WeightView weight;
  const PackedWeight* packed;  // null: products with the weight are in float32
  size_t rank;
  const float* a;  // [rank, cols]
  const float* b;  // [rows, rank]
  float scale;
};

/// y = x · weightᵀ + bias + low · bᵀ, low = scale · dropped · aᵀ. x and y are float32 where the
/// weight is not packed.
struct LoraArgs {
  size_t m;
  ConstElements x;        // [m, cols]
  ConstElements dropped;  // [m, cols]: x after dropout, or x itself
  const float* bias;      // [rows] or null
  Elements y;             // [m, rows]
  float* low;             // [m, rank]
};
/// Threaded. A row of y and low does not depend on m, bit for bit.
void lora_linear(const LoraWeight& weight, const LoraArgs& args);

struct LoraGradArgs {
  size_t m;
  const float* dy;        // [m, rows]
  ConstElements dropped;  // [m, cols]
  const float* low;       // [m, rank]
  float* dx;              // [m, cols]
  float* ddropped;        // [m, cols]; null where dropped is x: dx is then the sum of both
  float* da;              // [rank, cols]
  float* db;              // [rows, rank]
};
void lora_linear_grad(const LoraWeight& weight, const LoraGradArgs& args);

}  // namespace llmkit
