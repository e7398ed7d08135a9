#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/bf16.h"
#include "cpu/attention/attention.h"
#include "cpu/attention/kv_cache.h"
#include "cpu/rope/rope.h"

// What cached_attention() must equal bit for bit: rope(), keys and values rounded one by one, and
// attention() to all of them at once.

namespace llmkit {

/// cos and sin [T, half] of a sequence.
struct Angles {
  const float *cos, *sin;
  size_t half;
};

inline void round_row(float* x, size_t n, KvType type) {
  if (type == KvType::kBf16)
    for (size_t i = 0; i < n; ++i) x[i] = from_bf16(to_bf16(x[i]));
  if (type != KvType::kInt8) return;
  float most = 0;
  for (size_t i = 0; i < n; ++i) most = std::fmax(most, std::fabs(x[i]));
  const bool tiny = most < 0x1p-120f;
  const float inverse = 127 / most, scale = most / 127;
  for (size_t i = 0; i < n; ++i) x[i] = tiny ? 0 : std::nearbyint(x[i] * inverse) * scale;
}

/// Rows of `width` as a cache of this type keeps them.
inline std::vector<float> rounded_rows(std::vector<float> x, size_t width, KvType type) {
  for (size_t i = 0; i < x.size(); i += width) round_row(x.data() + i, width, type);
  return x;
}

inline std::vector<float> turned(const float* x, size_t T, size_t heads, size_t E,
                                 const Angles& angles) {
  std::vector<float> y(x, x + T * heads * E);
  if (angles.half > 0)
    rope({T, heads, E, angles.half, y.data(), angles.cos, angles.sin, y.data(), false});
  return y;
}

/// y of one sequence without a cache.
inline std::vector<float> whole_at_once(AttentionArgs p, const Angles& angles, KvType type) {
  const std::vector<float> q = turned(p.q.floats(), p.T, p.H, p.E, angles);
  const std::vector<float> k = rounded_rows(turned(p.k.floats(), p.T, p.K, p.E, angles), p.E, type);
  const std::vector<float> v =
      rounded_rows({p.v.floats(), p.v.floats() + p.T * p.K * p.E}, p.E, type);
  std::vector<float> y(q.size());
  p.q = q.data();
  p.k = k.data();
  p.v = v.data();
  attention(p, y.data(), nullptr);
  return y;
}

/// The same through a cache, so many positions a call.
inline std::vector<float> in_chunks(const AttentionArgs& whole, const Angles& angles, KvType type,
                                    size_t chunk) {
  KvCache cache(1, whole.K, {whole.E, type});
  std::vector<float> y(whole.T * whole.H * whole.E);
  for (size_t done = 0; done < whole.T; done += chunk) {
    const int32_t position = static_cast<int32_t>(done);
    AttentionArgs p = whole;
    p.T = p.S = std::min(chunk, whole.T - done);
    p.q = whole.q.from(done * p.H * p.E);
    p.k = whole.k.from(done * p.K * p.E);
    p.v = whole.v.from(done * p.K * p.E);
    p.first += done;
    p.last += done;
    CacheStep step = {&position, nullptr, nullptr, angles.half};
    if (angles.half > 0) step.cos = angles.cos + done * angles.half;
    if (angles.half > 0) step.sin = angles.sin + done * angles.half;
    cached_attention(p, step, cache, y.data() + done * p.H * p.E);
  }
  return y;
}

}  // namespace llmkit
