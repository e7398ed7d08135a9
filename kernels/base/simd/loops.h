#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/simd/bf16.h"

// Loops over the elements of arrays, 16 at a time: include base/simd/<isa>.h first.

namespace llmkit {
namespace {  // a copy per instruction set

/// 16 elements from i, of float32 or bf16.
struct Whole {
  size_t i;
  Vec get(const float* p) const { return load(p + i); }
  Vec get(const uint16_t* p) const { return load_bf16(reinterpret_cast<const uint8_t*>(p + i)); }
  void put(float* p, Vec v) const { store(p + i, v); }
  void put(uint16_t* p, Vec v) const { store_halves(p + i, halves_of(v)); }
  Vec or_zero(Vec v) const { return v; }
  Vec or_else(Vec v, Vec) const { return v; }
};

/// The last n < 16 elements, from i; the lanes after them are zeros where nothing else is said.
struct Part {
  size_t i, n;
  Vec get(const float* p) const { return load_partial(p + i, n); }
  Vec get(const uint16_t* p) const {
    uint16_t values[kLanes] = {};
    std::memcpy(values, p + i, n * sizeof(uint16_t));
    return load_bf16(reinterpret_cast<const uint8_t*>(values));
  }
  void put(float* p, Vec v) const { store_partial(p + i, v, n); }
  void put(uint16_t* p, Vec v) const {
    uint16_t values[kLanes];
    store_halves(values, halves_of(v));
    std::memcpy(p + i, values, n * sizeof(uint16_t));
  }
  Vec or_zero(Vec v) const { return select(first_lanes(n), v, zero()); }
  Vec or_else(Vec v, Vec other) const { return select(first_lanes(n), v, other); }
};

/// Elements of a chunk: a constant where it is whole, for loops over them to be unrolled.
constexpr int elements(Whole) { return kLanes; }
inline int elements(Part c) { return static_cast<int>(c.n); }

/// body(chunk) for n elements.
template <typename Body>
inline void each_chunk(size_t n, Body body) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(Whole{i});
  if (i < n) body(Part{i, n - i});
}

/// The sum over n elements of value(chunk): four accumulators in turn, a fixed order.
template <typename Value>
inline float sum_chunks(size_t n, Value value) {
  Vec acc[4] = {zero(), zero(), zero(), zero()};
  size_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes)
    for (int j = 0; j < 4; ++j) acc[j] = add(acc[j], value(Whole{i + j * kLanes}));
  for (; i + kLanes <= n; i += kLanes) acc[0] = add(acc[0], value(Whole{i}));
  if (i < n) {
    const Part rest{i, n - i};
    acc[1] = add(acc[1], rest.or_zero(value(rest)));
  }
  return sum(add(add(acc[0], acc[1]), add(acc[2], acc[3])));
}

/// The largest lane.
inline float largest(Vec v) {
  float lanes[kLanes];
  store(lanes, v);
  float best = lanes[0];
  for (int i = 1; i < kLanes; ++i) best = lanes[i] > best ? lanes[i] : best;
  return best;
}

}  // namespace
}  // namespace llmkit
