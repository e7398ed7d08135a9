#pragma once

#include <algorithm>

#include "cpu/packed/kernels.h"

namespace llmkit {
namespace {  // a copy per instruction set

/// A group of a row of x: `count` values, then zeros up to `stride`. Returns their sum.
template <PackedCode kCode>
inline float prepare_group(const float* x, size_t count, size_t stride, Value* out) {
  Vec total = zero();
  for (size_t i = 0; i < stride; i += kLanes) {
    const size_t left = i < count ? std::min<size_t>(count - i, kLanes) : 0;
    const Vec v = left == kLanes ? load(x + i) : left > 0 ? load_partial(x + i, left) : zero();
    total = add(total, store_rounded<kCode>(out + i, v, std::min<size_t>(stride - i, kLanes)));
  }
  return sum(total);
}

template <PackedCode kCode>
void prepare_rows_of(const PackedWeight& weight, const PrepareArgs& args) {
  Value* out = static_cast<Value*>(args.values);
  float* totals = args.totals;
  for (size_t i = 0; i < args.m; ++i)
    for (size_t g = 0; g < weight.groups; ++g, out += weight.group_stride) {
      const size_t first = g * weight.group;
      const size_t count = std::min(weight.group, weight.cols - first);
      const float total = prepare_group<kCode>(args.x + i * args.ldx + first, count,
                                               weight.group_stride, out);
      if (totals != nullptr) *totals++ = total;
    }
}

void prepare(const PackedWeight& weight, const PrepareArgs& args) {
  if (weight.code == PackedCode::kFourBit)
    prepare_rows_of<PackedCode::kFourBit>(weight, args);
  else
    prepare_rows_of<PackedCode::kSixteenBit>(weight, args);  // in their natural order
}

}  // namespace
}  // namespace llmkit
