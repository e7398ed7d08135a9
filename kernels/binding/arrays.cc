#include <string>

#include "binding/array_arguments.h"
#include "binding/recording.h"
#include "cpu/elements/elements.h"
#include "cpu/sample/sample.h"
#include "cpu/softmax/softmax.h"

namespace llmkit::binding {
namespace {

/// convert(x, y)
void convert_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "convert");
  const StoredElements x = args.elements(0);
  const Elements y = args.output_elements(1, x.size, "y");
  run([=] { convert(x.size, x.values, y); });
}

void unary_call(const Napi::CallbackInfo& info) {
  const UnaryArgs p = unary_arguments(Arguments(info, "unary"));
  run([=] { unary(p.op, p.n, p.x, p.y); });
}

void binary_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "binary");
  const size_t op = args.choice(0, kBinaryNames);
  run([op, p = binary_arguments(args)] { binary(op, p); });
}

void softmax_call(const Napi::CallbackInfo& info) {
  const RowsArgs<float> p = softmax_arguments(Arguments(info, "softmax"));
  softmax(p.rows, p.cols, p.x, p.y);
}

void reduce_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "reduce");
  const auto op = static_cast<Reduction>(args.choice(0, kReductionNames));
  reduce(op, reduce_arguments(args));
}

void argmax_call(const Napi::CallbackInfo& info) {
  const RowsArgs<int32_t> p = argmax_arguments(Arguments(info, "argmax"));
  argmax(p.rows, p.cols, p.x, p.y);
}

void transpose_call(const Napi::CallbackInfo& info) {
  size_t size;
  const TransposeArgs p = transpose_arguments(Arguments(info, "transpose"), size);
  if (size > 0) transpose(p);
}

void gather_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "gather");
  const GatherArgs p = gather_arguments(args);
  run([=, ids = args.ints(1), env = info.Env()] {
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

void scatter_add_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "scatterAdd");
  const ScatterAddArgs p = scatter_add_arguments(args);
  check_ids(info.Env(), "scatterAdd", args.ints(1), p.rows);
  scatter_add(p.count, p.cols, p.x, p.ids, p.y);
}

/// A Float32Array's or an Int32Array's elements.
Words words(const Arguments& args, size_t index, bool floats) {
  if (floats) {
    const Floats values = args.floats(index);
    return {reinterpret_cast<uint32_t*>(values.data), values.size};
  }
  const Ints values = args.ints(index);
  return {reinterpret_cast<uint32_t*>(values.data), values.size};
}

void strided_copy_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "stridedCopy");
  if (!info[0].IsTypedArray()) args.expected(0, "a Float32Array or an Int32Array");
  const bool floats = info[0].As<Napi::TypedArray>().TypedArrayType() == napi_float32_array;
  const StridedCopyArgs p =
      strided_copy_arguments(args, words(args, 0, floats), words(args, 1, floats));
  run([=] { strided_copy(p); });
}

}  // namespace

void add_arrays(Napi::Object exports) {
  add_call<convert_call>(exports, "convert");
  add_call<unary_call>(exports, "unary");
  add_call<binary_call>(exports, "binary");
  add_call<softmax_call>(exports, "softmax");
  add_call<reduce_call>(exports, "reduce");
  add_call<argmax_call>(exports, "argmax");
  add_call<transpose_call>(exports, "transpose");
  add_call<gather_call>(exports, "gather");
  add_call<sample_call>(exports, "sample");
  add_call<scatter_add_call>(exports, "scatterAdd");
  add_call<strided_copy_call>(exports, "stridedCopy");
}

}  // namespace llmkit::binding
