#pragma once

#include <algorithm>

#include "base/simd/loops.h"
#include "cpu/packed/kernels.h"

namespace llmkit {
namespace {  // a copy per instruction set

/// A group of a row of x: `count` values, then zeros up to `stride`. Returns their sum, if it is
/// wanted.
template <PackedCode kCode, bool kTotal, typename Input>
inline float prepare_group(const Input* x, size_t count, size_t stride, Value* out) {
  Vec total = zero();
  for (size_t i = 0; i < stride; i += kLanes) {
    const size_t left = i < count ? std::min<size_t>(count - i, kLanes) : 0;
    const Vec v = left == kLanes ? Whole{i}.get(x) : left > 0 ? Part{i, left}.get(x) : zero();
    const Vec rounded = store_rounded<kCode>(out + i, v, std::min<size_t>(stride - i, kLanes));
    if (kTotal) total = add(total, rounded);
  }
  return kTotal ? sum(total) : 0;
}

template <PackedCode kCode, bool kTotal, typename Input>
void prepare_rows_of(const PackedWeight& weight, const PrepareArgs& args, const Input* x) {
  Value* out = static_cast<Value*>(args.values);
  float* totals = args.totals;
  for (size_t i = 0; i < args.m; ++i)
    for (size_t g = 0; g < weight.groups; ++g, out += weight.group_stride) {
      const size_t first = g * weight.group;
      const size_t count = std::min(weight.group, weight.cols - first);
      const float total =
          prepare_group<kCode, kTotal>(x + i * args.ldx + first, count, weight.group_stride, out);
      if (kTotal) *totals++ = total;
    }
}

template <PackedCode kCode, typename Input>
void prepare_values(const PackedWeight& weight, const PrepareArgs& args, const Input* x) {
  if (args.totals != nullptr)
    prepare_rows_of<kCode, true>(weight, args, x);
  else
    prepare_rows_of<kCode, false>(weight, args, x);
}

template <typename Input>
void prepare_from(const PackedWeight& weight, const PrepareArgs& args, const Input* x) {
  if (weight.code == PackedCode::kFourBit)
    prepare_values<PackedCode::kFourBit>(weight, args, x);
  else
    prepare_values<PackedCode::kSixteenBit>(weight, args, x);  // in their natural order
}

void prepare(const PackedWeight& weight, const PrepareArgs& args) {
  if (args.halves != nullptr)
    prepare_from(weight, args, args.halves);
  else
    prepare_from(weight, args, args.x);
}

}  // namespace
}  // namespace llmkit
