#include <cstring>

#include "binding/array_arguments.h"
#include "cuda/arrange/arrange.h"
#include "cuda/binding/arguments.h"
#include "cuda/binding/device_array.h"
#include "cuda/binding/wrong_ids.h"
#include "cuda/elementwise/elementwise.h"
#include "cuda/reduce/reduce.h"
#include "cuda/softmax/softmax.h"

namespace llmkit::cuda {
namespace {

void unary_call(const Napi::CallbackInfo& info) {
  const binding::UnaryArgs p = binding::unary_arguments(Arguments(info, "unary"));
  check(unary(p.op, p.n, p.x, p.y, stream()), "unary");
}

void binary_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "binary");
  const size_t op = args.choice(0, kBinaryNames);
  check(binary(op, binding::binary_arguments(args), stream()), "binary");
}

void softmax_call(const Napi::CallbackInfo& info) {
  const auto p = binding::softmax_arguments(Arguments(info, "softmax"));
  check(softmax(p.rows, p.cols, p.x, p.y, stream()), "softmax");
}

void reduce_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "reduce");
  const auto op = static_cast<Reduction>(args.choice(0, kReductionNames));
  const ReduceArgs p = binding::reduce_arguments(args);
  const Scratch workspace = scratch(reduce_workspace(p));
  check(reduce(op, p, workspace.data(), stream()), "reduce");
}

void argmax_call(const Napi::CallbackInfo& info) {
  const auto p = binding::argmax_arguments(Arguments(info, "argmax"));
  check(argmax(p.rows, p.cols, p.x, p.y, stream()), "argmax");
}

void transpose_call(const Napi::CallbackInfo& info) {
  size_t size;
  const TransposeArgs p = binding::transpose_arguments(Arguments(info, "transpose"), size);
  if (size > 0) check(transpose(p, stream()), "transpose");
}

void gather_call(const Napi::CallbackInfo& info) {
  const GatherArgs p = binding::gather_arguments(Arguments(info, "gather"));
  check(gather(p, stream(), id_report()), "gather");
}

void scatter_add_call(const Napi::CallbackInfo& info) {
  const auto p = binding::scatter_add_arguments(Arguments(info, "scatterAdd"));
  check(scatter_add({p.count, p.rows, p.cols, p.x, p.ids, p.y}, stream(), id_report()),
        "scatterAdd");
}

/// fill(y, value)
void fill_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "fill");
  const DeviceArray& y = device_array(args, 0);
  const double value = args.number(1);
  const float real = static_cast<float>(value);
  int32_t whole = 0;
  napi_get_value_int32(args.env(), args.value(1), &whole);
  uint32_t word;
  if (y.type == ElementType::kBf16) args.expected(0, "of words of 4 bytes");
  std::memcpy(&word, y.is_float() ? static_cast<const void*>(&real) : &whole, sizeof(word));
  check(fill(y.length, word, y.block.as<uint32_t>(), stream()), "fill");
}

void strided_copy_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "stridedCopy");
  const DeviceArray &x = device_array(args, 0), &y = device_array(args, 1);
  if (x.is_float() != y.is_float() || y.type == ElementType::kBf16)
    args.expected(1, "of the type of argument 1");
  // Of an array of words it is the array itself.
  auto* const from = static_cast<uint32_t*>(const_cast<void*>(words_to_read(args, x)));
  const binding::Words source = {from, x.length}, to = {y.block.as<uint32_t>(), y.length};
  check(strided_copy(binding::strided_copy_arguments(args, source, to), stream()), "stridedCopy");
}

}  // namespace

void add_arrays(Napi::Object exports) {
  add_procedure<unary_call>(exports, "unary");
  add_procedure<binary_call>(exports, "binary");
  add_procedure<softmax_call>(exports, "softmax");
  add_procedure<reduce_call>(exports, "reduce");
  add_procedure<argmax_call>(exports, "argmax");
  add_procedure<transpose_call>(exports, "transpose");
  add_procedure<gather_call>(exports, "gather");
  add_procedure<scatter_add_call>(exports, "scatterAdd");
  add_procedure<fill_call>(exports, "fill");
  add_procedure<strided_copy_call>(exports, "stridedCopy");
}

}  // namespace llmkit::cuda
