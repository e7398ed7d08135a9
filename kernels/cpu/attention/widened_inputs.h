#pragma once

#include <vector>

#include "cpu/attention/attention.h"
#include "cpu/elements/elements.h"

namespace llmkit {

/// An array as float32: itself, or a copy.
class WidenedArray {
 public:
  WidenedArray(const ConstElements& x, size_t size) : copy_(x.is_bf16 ? size : 0), x_(x) {
    if (x.is_bf16) convert(size, x, copy_.data());
  }
  const float* values() const { return x_.is_bf16 ? copy_.data() : x_.floats(); }

 private:
  std::vector<float> copy_;
  ConstElements x_;
};

/// Arguments whose q, k and v are float32, for the kernels that know nothing else.
class WidenedInputs {
 public:
  explicit WidenedInputs(const AttentionArgs& given)
      : args(given),
        q_(given.q, given.B * given.T * given.H * given.E),
        k_(given.k, given.B * given.S * given.K * given.E),
        v_(given.v, given.B * given.S * given.K * given.E) {
    args.q = q_.values();
    args.k = k_.values();
    args.v = v_.values();
  }

  AttentionArgs args;

 private:
  WidenedArray q_, k_, v_;
};

}  // namespace llmkit
