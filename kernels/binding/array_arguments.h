#pragma once

#include <string>

#include "binding/arguments.h"
#include "cpu/arrange/arrange.h"
#include "cpu/elementwise/elementwise.h"
#include "cpu/reduce/reduce.h"

// What the functions for plain arrays are called with, on every device.

namespace llmkit::binding {

struct UnaryArgs {
  size_t op, n;
  const float* x;
  float* y;
};

/// unary(op, x, y)
inline UnaryArgs unary_arguments(const Arguments& args) {
  const Floats x = args.floats(1);
  return {args.choice(0, kUnaryNames), x.size, x.data, args.floats(2, x.size, "y").data};
}

inline Operand operand(const Arguments& args, size_t index, size_t rows, size_t cols) {
  const auto broadcast = static_cast<Broadcast>(args.choice(index + 4, kBroadcastNames));
  const size_t sizes[] = {rows * cols, cols, rows, 1};  // in the order of Broadcast
  return {args.floats(index, sizes[static_cast<size_t>(broadcast)], "operand").data, broadcast};
}

/// binary(op, a, b, y, cols, broadcastA, broadcastB)
inline BinaryArgs binary_arguments(const Arguments& args) {
  const size_t cols = args.positive(4, "cols");
  const Floats y = args.floats(3);
  const size_t rows = args.quotient(y.size, cols, "y");
  return {rows, cols, operand(args, 1, rows, cols), operand(args, 2, rows, cols), y.data};
}

/// Rows of x and what is made of them.
template <typename Y>
struct RowsArgs {
  size_t rows, cols;
  const float* x;
  Y* y;
};

/// softmax(x, y, cols)
inline RowsArgs<float> softmax_arguments(const Arguments& args) {
  const size_t cols = args.positive(2, "cols");
  const Floats x = args.floats(0);
  return {args.quotient(x.size, cols, "x"), cols, x.data, args.floats(1, x.size, "y").data};
}

/// argmax(x, y, cols)
inline RowsArgs<int32_t> argmax_arguments(const Arguments& args) {
  const size_t cols = args.positive(2, "cols");
  const Floats x = args.floats(0);
  const size_t rows = args.quotient(x.size, cols, "x");
  return {rows, cols, x.data, args.ints(1, rows, "y").data};
}

/// reduce(op, x, y, middle, inner)
inline ReduceArgs reduce_arguments(const Arguments& args) {
  const size_t middle = args.size(3, "middle"), inner = args.positive(4, "inner");
  const Floats x = args.floats(1), y = args.floats(2);
  const size_t outer = args.quotient(y.size, inner, "y");
  args.expect(x.size, args.product({outer, middle, inner}), "x");
  return {outer, middle, inner, x.data, y.data};
}

/// Reads an array of up to kMost whole numbers below `limit`; returns how many there are.
template <size_t kMost>
size_t read_sizes(const Arguments& args, size_t index, double limit, size_t (&sizes)[kMost]) {
  const Napi::Value value = args.value(index);
  if (!value.IsArray())
    args.type_error("argument " + std::to_string(index + 1) + " must be an array of numbers");
  const Napi::Array list = value.As<Napi::Array>();
  if (list.Length() > kMost)
    args.range_error("expected at most " + std::to_string(kMost) + " axes");
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const double size = list.Get(i).ToNumber().DoubleValue();
    if (!(size >= 0 && size < limit)) args.range_error("a size or an axis is out of range");
    sizes[i] = static_cast<size_t>(size);
  }
  return list.Length();
}

/// transpose(x, y, shape, permutation); sets `size` to the number of elements.
inline TransposeArgs transpose_arguments(const Arguments& args, size_t& size) {
  TransposeArgs p;
  p.axes = read_sizes(args, 2, 0x1p31, p.shape);
  if (p.axes == 0) args.range_error("expected an axis");
  const size_t count = read_sizes(args, 3, static_cast<double>(p.axes), p.permutation);
  args.expect(count, p.axes, "permutation");
  size_t seen = 0;
  size = 1;
  for (size_t i = 0; i < p.axes; ++i) {
    size = args.product({size, p.shape[i]});
    seen |= size_t{1} << p.permutation[i];
  }
  if (seen + 1 != size_t{1} << p.axes) args.range_error("permutation names an axis twice");
  p.x = args.floats(0, size, "x").data;
  p.y = args.floats(1, size, "y").data;
  return p;
}

/// float32 or int32 values, which are only moved.
using Words = Span<uint32_t>;

/// Reads where a block of p's shape begins, argument `index`, and its strides, the argument after
/// it. All of it must lie within `length`. Returns where it begins.
inline size_t read_place(const Arguments& args, size_t index, const StridedCopyArgs& p,
                         size_t length, size_t (&strides)[kMaxCopyAxes]) {
  const size_t start = args.size(index, "start");
  args.expect(read_sizes(args, index + 1, 0x1p53, strides), p.axes, "strides");
  double last = static_cast<double>(start);
  for (size_t axis = 0; axis < p.axes; ++axis) {
    if (p.shape[axis] == 0) return 0;
    last += static_cast<double>(p.shape[axis] - 1) * static_cast<double>(strides[axis]);
  }
  if (last >= static_cast<double>(length)) args.range_error("the block reaches beyond its array");
  return start;
}

/// stridedCopy(x, y, shape, xStart, xStrides, yStart, yStrides)
inline StridedCopyArgs strided_copy_arguments(const Arguments& args, const Words& x,
                                              const Words& y) {
  StridedCopyArgs p = {};
  p.axes = read_sizes(args, 2, 0x1p31, p.shape);
  p.x = x.data + read_place(args, 3, p, x.size, p.x_strides);
  p.y = y.data + read_place(args, 5, p, y.size, p.y_strides);
  return p;
}

/// gather(x, ids, y, axis, inner); the ids are not looked at.
inline GatherArgs gather_arguments(const Arguments& args) {
  GatherArgs p;
  p.axis = args.positive(3, "axis");
  p.inner = args.positive(4, "inner");
  const Floats x = args.floats(0);
  const Ints ids = args.ints(1);
  p.outer = args.quotient(x.size, args.product({p.axis, p.inner}), "x");
  p.x = x.data;
  p.count = ids.size;
  p.ids = ids.data;
  p.y = args.floats(2, p.outer * p.count * p.inner, "y").data;
  return p;
}

struct ScatterAddArgs {
  size_t count, rows, cols;
  const float* x;
  const int32_t* ids;
  float* y;
};

/// scatterAdd(x, ids, y, cols); the ids are not looked at.
inline ScatterAddArgs scatter_add_arguments(const Arguments& args) {
  const size_t cols = args.positive(3, "cols");
  const Ints ids = args.ints(1);
  const Floats y = args.floats(2);
  const size_t rows = args.quotient(y.size, cols, "y");
  return {ids.size, rows, cols, args.floats(0, ids.size * cols, "x").data, ids.data, y.data};
}

}  // namespace llmkit::binding
