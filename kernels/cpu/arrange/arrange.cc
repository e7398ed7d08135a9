#include "cpu/arrange/arrange.h"

#include <algorithm>
#include <cstring>

#include "base/parallel.h"

namespace llmkit {
namespace {

/// A transposition as loops over y's axes. `paired` is the axis of y whose elements are neighbours
/// in x: with the last axis of y it makes the planes that are transposed in blocks.
struct Loops {
  size_t axes, paired;
  size_t extent[kMaxAxes], from[kMaxAxes], to[kMaxAxes];  // by axis of y; strides in x and y
};

Loops loops_of(const TransposeArgs& p) {
  size_t stride[kMaxAxes], step = 1;
  for (size_t i = p.axes; i-- > 0; step *= p.shape[i]) stride[i] = step;
  Loops loops;
  loops.axes = p.axes;
  loops.paired = p.axes - 1;
  step = 1;
  for (size_t i = p.axes; i-- > 0; step *= loops.extent[i]) {
    loops.extent[i] = p.shape[p.permutation[i]];
    loops.from[i] = stride[p.permutation[i]];
    loops.to[i] = step;
    if (p.permutation[i] == p.axes - 1) loops.paired = i;
  }
  return loops;
}

/// Transposes rows [begin, end) of the paired axis with the whole last axis.
void transpose_plane(const Loops& l, size_t begin, size_t end, const float* x, float* y) {
  constexpr size_t kBlock = 16;
  const size_t last = l.axes - 1, to = l.to[l.paired], from = l.from[last];
  for (size_t j = 0; j < l.extent[last]; j += kBlock) {
    const size_t stop = std::min(j + kBlock, l.extent[last]);
    for (size_t i = begin; i < end; ++i)
      for (size_t k = j; k < stop; ++k) y[i * to + k] = x[i + k * from];
  }
}

}  // namespace

void transpose(const TransposeArgs& p) {
  const Loops l = loops_of(p);
  const size_t last = l.axes - 1;
  const bool rows = l.paired == last;  // the last axis stays: whole rows are copied
  size_t planes = 1;
  for (size_t i = 0; i < last; ++i)
    if (i != l.paired) planes *= l.extent[i];
  const size_t strip = rows ? 1 : 16, strips = rows ? 1 : (l.extent[l.paired] + strip - 1) / strip;
  const size_t work = 2 * l.extent[last] * strip;
  parallel_for(planes * strips, grain_for(work), [&](size_t begin, size_t end) {
    for (size_t task = begin; task < end; ++task) {
      size_t rest = task / strips, from = 0, to = 0;
      for (size_t i = last; i-- > 0;) {
        if (i == l.paired) continue;
        from += rest % l.extent[i] * l.from[i];
        to += rest % l.extent[i] * l.to[i];
        rest /= l.extent[i];
      }
      if (rows) {
        std::memcpy(p.y + to, p.x + from, l.extent[last] * sizeof(float));
        continue;
      }
      const size_t row = task % strips * strip;
      transpose_plane(l, row, std::min(row + strip, l.extent[l.paired]), p.x + from, p.y + to);
    }
  });
}

void gather(const GatherArgs& p) {
  parallel_for(p.outer * p.count, grain_for(p.inner), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const size_t row = i / p.count * p.axis + static_cast<size_t>(p.ids[i % p.count]);
      std::memcpy(p.y + i * p.inner, p.x + row * p.inner, p.inner * sizeof(float));
    }
  });
}

void scatter_add(size_t count, size_t cols, const float* x, const int32_t* ids, float* y) {
  const size_t width = 64;
  parallel_for((cols + width - 1) / width, grain_for(2 * count * width),
               [&](size_t begin, size_t end) {
                 const size_t stop = std::min(end * width, cols);
                 for (size_t i = 0; i < count; ++i) {
                   const float* const from = x + i * cols;
                   float* const to = y + static_cast<size_t>(ids[i]) * cols;
                   for (size_t c = begin * width; c < stop; ++c) to[c] += from[c];
                 }
               });
}

}  // namespace llmkit
