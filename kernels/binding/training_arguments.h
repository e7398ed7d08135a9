#pragma once

#include <string>

#include "binding/arguments.h"
#include "cpu/adamw/adamw.h"
#include "cpu/adamw/adamw_8bit.h"
#include "cpu/dropout/dropout.h"

// What the functions of training are called with, on every device.

namespace llmkit::binding {

/// adamw's step, learningRate, beta1, beta2, eps, weightDecay, gradientScale from `index` on.
inline AdamwHyper adamw_hyper(const Arguments& args, size_t index) {
  return {args.number(index),     args.number(index + 1), args.number(index + 2),
          args.number(index + 3), args.number(index + 4), args.number(index + 5),
          args.number(index + 6)};
}

/// adamw8bit's parameter, gradient, m, v, mScales, vScales; the codes lie four to a word.
inline Adamw8State adamw_8bit_state(const Arguments& args) {
  const Floats parameter = args.floats(0);
  const size_t n = parameter.size, blocks = (n + kStateBlock - 1) / kStateBlock;
  const auto codes = [&](size_t index, const char* name) {
    return reinterpret_cast<uint8_t*>(args.ints(index, (n + 3) / 4, name).data);
  };
  return {parameter.data,
          args.floats(1, n, "gradient").data,
          codes(2, "m"),
          codes(3, "v"),
          args.floats(4, blocks, "mScales").data,
          args.floats(5, blocks, "vScales").data};
}

/// A seed as JavaScript's ToUint32 makes it.
inline uint32_t word(const Arguments& args, size_t index) {
  uint32_t value = 0;
  if (napi_get_value_uint32(args.env(), args.value(index), &value) != napi_ok)
    args.type_error("argument " + std::to_string(index + 1) + " must be a number");
  return value;
}

/// dropout(x, keys, rate, seed, stream, y)
inline DropoutArgs dropout_arguments(const Arguments& args) {
  DropoutArgs p;
  const StoredElements x = args.elements(0);
  const Ints keys = args.ints(1);
  p.rows = args.quotient(keys.size, 2, "keys");
  p.cols = p.rows == 0 ? 0 : args.quotient(x.size, p.rows, "x");
  p.x = x.values;
  p.keys = keys.data;
  p.rate = args.number(2);
  if (!(p.rate >= 0 && p.rate < 1)) args.range_error("rate must be in [0, 1)");
  p.seed = word(args, 3);
  p.stream = word(args, 4);
  p.y = args.floats(5, p.rows * p.cols, "y").data;
  return p;
}

}  // namespace llmkit::binding
