#pragma once

#include <cstddef>

namespace llmkit {

constexpr const char* kUnaryNames[] = {"abs",        "erf",   "exp",     "log",  "neg",
                                       "relu",       "rsqrt", "sigmoid", "sqrt", "square",
                                       "reciprocal", "step",  "tanh"};
constexpr size_t kUnaryOps = sizeof kUnaryNames / sizeof *kUnaryNames;

constexpr const char* kBinaryNames[] = {
    "add", "sub", "mul", "div", "max", "min", "squared_difference"};
constexpr size_t kAdd = 0;  // place of "add"
constexpr size_t kBinaryOps = sizeof kBinaryNames / sizeof *kBinaryNames;

/// y = op(x) for n values, op a place in kUnaryNames; y may be x. step is 1 above 0, NaN at NaN.
void unary(size_t op, size_t n, const float* x, float* y);

/// How an operand covers the [rows, cols] result: all of it, one row for all, one value per row,
/// one value.
enum class Broadcast { kFull, kRow, kColumn, kScalar, kCount };
constexpr const char* kBroadcastNames[] = {"full", "row", "column", "scalar"};

struct Operand {
  const float* data;
  Broadcast broadcast;
};

/// y [rows, cols] = a op b, op a place in kBinaryNames; y may be an operand that is full. max and
/// min give NaN when an operand is NaN.
struct BinaryArgs {
  size_t rows, cols;
  Operand a, b;
  float* y;
};
void binary(size_t op, const BinaryArgs& args);

/// Elements [begin, end) on one thread.
struct ElementwiseKernels {
  void (*unary[kUnaryOps])(size_t begin, size_t end, const float* x, float* y);
  void (*binary[kBinaryOps])(const BinaryArgs& args, size_t begin, size_t end);
};

#define ELEMENTWISE_KERNELS(isa, name) extern const ElementwiseKernels name;
#include "cpu/elementwise/kernels.inc"
#undef ELEMENTWISE_KERNELS

}  // namespace llmkit
