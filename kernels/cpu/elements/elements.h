#pragma once

#include <cstddef>
#include <cstdint>

#include "base/elements.h"

namespace llmkit {

/// y = x for n values, with all threads: bf16 becomes float32 exactly, float32 is rounded to the
/// nearest bf16, ties to even.
void convert(size_t n, const ConstElements& x, const Elements& y);

/// The same on one thread.
void widen(size_t n, const uint16_t* x, float* y);
void narrow(size_t n, const float* x, uint16_t* y);

/// n values from x on as float32: where they lie, or else in `buffer`.
inline const float* widened(const ConstElements& x, size_t n, float* buffer) {
  if (!x.is_bf16) return x.floats();
  widen(n, x.halves(), buffer);
  return buffer;
}

/// Rows of float32 values, `ld` apart.
struct FloatRows {
  const float* values;
  size_t ld;
};

/// `count` rows of `cols` values, `ld` apart, as float32: where they lie, or else one behind the
/// other in `buffer`.
inline FloatRows widened_rows(const ConstElements& x, size_t count, size_t cols, size_t ld,
                              float* buffer) {
  if (!x.is_bf16) return {x.floats(), ld};
  for (size_t row = 0; row < count; ++row) widen(cols, x.halves() + row * ld, buffer + row * cols);
  return {buffer, cols};
}

/// Where to compute n float32 values that go to y: in y itself, or in `buffer`, from where `put`
/// rounds them.
class Result {
 public:
  Result(const Elements& y, float* buffer) : y_(y), values_(y.is_bf16 ? buffer : y.floats()) {}
  float* values() const { return values_; }
  void put(size_t n) const {
    if (y_.is_bf16) narrow(n, values_, y_.halves());
  }

 private:
  Elements y_;
  float* values_;
};

struct ElementsKernels {
  void (*widen)(size_t n, const uint16_t* x, float* y);
  void (*narrow)(size_t n, const float* x, uint16_t* y);
};

#define ELEMENTS_KERNELS(isa, name) extern const ElementsKernels name;
#include "cpu/elements/kernels.inc"
#undef ELEMENTS_KERNELS

}  // namespace llmkit
