#pragma once

#include "base/simd/loops.h"
#include "base/simd/math.h"
#include "cpu/elementwise/elementwise.h"

namespace llmkit {
namespace {  // a copy per instruction set; include base/simd/<isa>.h first

inline Vec relu(Vec x) { return larger(zero(), x); }  // keeps NaN
inline Vec reciprocal(Vec x) { return div(splat(1), x); }
inline Vec inverse_root(Vec x) { return div(splat(1), square_root(x)); }
inline Vec square(Vec x) { return mul(x, x); }
inline Vec step(Vec x) { return select(equal(x, x), select(less(zero(), x), splat(1), zero()), x); }

inline Vec maximum(Vec a, Vec b) { return select(equal(a, a), larger(a, b), a); }
inline Vec minimum(Vec a, Vec b) { return select(equal(a, a), smaller(a, b), a); }
inline Vec squared_difference(Vec a, Vec b) { return square(sub(a, b)); }

template <Vec (*kOp)(Vec)>
inline void unary_run(size_t begin, size_t end, const float* x, float* y) {
  each_chunk(end - begin, [&](auto c) { c.put(y + begin, kOp(c.get(x + begin))); });
}

// In the order of kUnaryNames.
#define LLMKIT_UNARY_TABLE                                                                 \
  {unary_run<magnitude>,   unary_run<erf>,    unary_run<exp>,          unary_run<log>,     \
   unary_run<negate>,      unary_run<relu>,   unary_run<inverse_root>, unary_run<sigmoid>, \
   unary_run<square_root>, unary_run<square>, unary_run<reciprocal>,   unary_run<step>,    \
   unary_run<tanh>}

/// An operand along a run of elements of one row.
struct Along {
  const float* values;  // null: the same value for all
  Vec same;

  Along(const Operand& operand, size_t row, size_t cols, size_t col) : values(nullptr) {
    const float* const p = operand.data;
    if (operand.broadcast == Broadcast::kFull) values = p + row * cols + col;
    if (operand.broadcast == Broadcast::kRow) values = p + col;
    if (values == nullptr) same = splat(p[operand.broadcast == Broadcast::kColumn ? row : 0]);
  }
};

template <Vec (*kOp)(Vec, Vec)>
inline void binary_segment(size_t n, const Along& a, const Along& b, float* y) {
  if (a.values != nullptr && b.values != nullptr)
    each_chunk(n, [&](auto c) { c.put(y, kOp(c.get(a.values), c.get(b.values))); });
  else if (a.values != nullptr)
    each_chunk(n, [&](auto c) { c.put(y, kOp(c.get(a.values), b.same)); });
  else if (b.values != nullptr)
    each_chunk(n, [&](auto c) { c.put(y, kOp(a.same, c.get(b.values))); });
  else
    each_chunk(n, [&](auto c) { c.put(y, kOp(a.same, b.same)); });
}

template <Vec (*kOp)(Vec, Vec)>
inline void binary_run(const BinaryArgs& p, size_t begin, size_t end) {
  size_t row = begin / p.cols, col = begin % p.cols;
  for (size_t i = begin; i < end; ++row, col = 0) {
    const size_t rest = p.cols - col, n = end - i < rest ? end - i : rest;
    binary_segment<kOp>(n, Along(p.a, row, p.cols, col), Along(p.b, row, p.cols, col), p.y + i);
    i += n;
  }
}

// In the order of kBinaryNames.
#define LLMKIT_BINARY_TABLE \
  {binary_run<add>,         \
   binary_run<sub>,         \
   binary_run<mul>,         \
   binary_run<div>,         \
   binary_run<maximum>,     \
   binary_run<minimum>,     \
   binary_run<squared_difference>}

}  // namespace
}  // namespace llmkit
