#include <string>

#include "binding/arguments.h"
#include "binding/recording.h"
#include "cpu/arrange/arrange.h"
#include "cpu/elementwise/elementwise.h"
#include "cpu/reduce/reduce.h"
#include "cpu/sample/sample.h"
#include "cpu/softmax/softmax.h"

namespace llmkit::binding {
namespace {

/// unary(op, x, y)
void unary_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "unary");
  const Floats x = args.floats(1);
  const size_t op = args.choice(0, kUnaryNames);
  float* const y = args.floats(2, x.size, "y").data;
  run([=] { unary(op, x.size, x.data, y); });
}

Operand operand(const Arguments& args, size_t index, size_t rows, size_t cols) {
  const auto broadcast = static_cast<Broadcast>(args.choice(index + 4, kBroadcastNames));
  const size_t sizes[] = {rows * cols, cols, rows, 1};  // in the order of Broadcast
  return {args.floats(index, sizes[static_cast<size_t>(broadcast)], "operand").data, broadcast};
}

/// binary(op, a, b, y, cols, broadcastA, broadcastB)
void binary_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "binary");
  const size_t op = args.choice(0, kBinaryNames), cols = args.positive(4, "cols");
  const Floats y = args.floats(3);
  const size_t rows = args.quotient(y.size, cols, "y");
  const Operand a = operand(args, 1, rows, cols), b = operand(args, 2, rows, cols);
  run([=] { binary(op, {rows, cols, a, b, y.data}); });
}

/// softmax(x, y, cols)
void softmax_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "softmax");
  const size_t cols = args.positive(2, "cols");
  const Floats x = args.floats(0);
  softmax(args.quotient(x.size, cols, "x"), cols, x.data, args.floats(1, x.size, "y").data);
}

/// reduce(op, x, y, middle, inner)
void reduce_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "reduce");
  const auto op = static_cast<Reduction>(args.choice(0, kReductionNames));
  const size_t middle = args.size(3, "middle"), inner = args.positive(4, "inner");
  const Floats x = args.floats(1), y = args.floats(2);
  const size_t outer = args.quotient(y.size, inner, "y");
  args.expect(x.size, args.product({outer, middle, inner}), "x");
  reduce(op, {outer, middle, inner, x.data, y.data});
}

/// argmax(x, y, cols)
void argmax_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "argmax");
  const size_t cols = args.positive(2, "cols");
  const Floats x = args.floats(0);
  const size_t rows = args.quotient(x.size, cols, "x");
  argmax(rows, cols, x.data, args.ints(1, rows, "y").data);
}

/// Reads an array of whole numbers below `limit`; returns how many there are.
size_t read_sizes(const Arguments& args, size_t index, double limit, size_t (&sizes)[kMaxAxes]) {
  const Napi::Value value = args.value(index);
  if (!value.IsArray()) args.type_error("shape and permutation must be arrays");
  const Napi::Array list = value.As<Napi::Array>();
  if (list.Length() == 0 || list.Length() > kMaxAxes)
    args.range_error("expected 1 to " + std::to_string(kMaxAxes) + " axes");
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const double size = list.Get(i).ToNumber().DoubleValue();
    if (!(size >= 0 && size < limit)) args.range_error("a size or an axis is out of range");
    sizes[i] = static_cast<size_t>(size);
  }
  return list.Length();
}

/// transpose(x, y, shape, permutation)
void transpose_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "transpose");
  TransposeArgs p;
  p.axes = read_sizes(args, 2, 0x1p31, p.shape);
  const size_t count = read_sizes(args, 3, static_cast<double>(p.axes), p.permutation);
  args.expect(count, p.axes, "permutation");
  size_t size = 1, seen = 0;
  for (size_t i = 0; i < p.axes; ++i) {
    size = args.product({size, p.shape[i]});
    seen |= size_t{1} << p.permutation[i];
  }
  if (seen + 1 != size_t{1} << p.axes) args.range_error("permutation names an axis twice");
  p.x = args.floats(0, size, "x").data;
  p.y = args.floats(1, size, "y").data;
  if (size > 0) transpose(p);
}

/// gather(x, ids, y, axis, inner)
void gather_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "gather");
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
  run([=, env = info.Env()] {
    check_ids(env, "gather", ids, p.axis);
    gather(p);
  });
}

/// sample(logits, seen, penalty, temperature, topK, topP, uniform)
Napi::Value sample_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "sample");
  const Floats logits = args.floats(0);
  const bool any_seen = info[1].IsTypedArray();
  const Ints seen = any_seen ? args.ints(1) : Ints{};
  if (logits.size == 0 || logits.size > kSampleMostIds)
    args.range_error("expected 1 to " + std::to_string(kSampleMostIds) + " logits");
  check_ids(info.Env(), "sample", seen, logits.size);
  const SampleArgs p = {
      logits.size,    logits.data,          seen.data,      seen.size,     args.number(2),
      args.number(3), args.size(4, "topK"), args.number(5), args.number(6)};
  return Napi::Number::New(info.Env(), static_cast<double>(sample(p)));
}

/// scatterAdd(x, ids, y, cols)
void scatter_add_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "scatterAdd");
  const size_t cols = args.positive(3, "cols");
  const Ints ids = args.ints(1);
  const Floats y = args.floats(2);
  check_ids(info.Env(), "scatterAdd", ids, args.quotient(y.size, cols, "y"));
  scatter_add(ids.size, cols, args.floats(0, ids.size * cols, "x").data, ids.data, y.data);
}

}  // namespace

void add_arrays(Napi::Object exports) {
  add_call<unary_call>(exports, "unary");
  add_call<binary_call>(exports, "binary");
  add_call<softmax_call>(exports, "softmax");
  add_call<reduce_call>(exports, "reduce");
  add_call<argmax_call>(exports, "argmax");
  add_call<transpose_call>(exports, "transpose");
  add_call<gather_call>(exports, "gather");
  add_call<sample_call>(exports, "sample");
  add_call<scatter_add_call>(exports, "scatterAdd");
}

}  // namespace llmkit::binding
