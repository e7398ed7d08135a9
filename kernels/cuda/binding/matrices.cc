#include "binding/product_arguments.h"
#include "cuda/binding/held_weight.h"
#include "cuda/binding/wrong_ids.h"
#include "cuda/matmul/matmul.h"
#include "cuda/rounded/rounded.h"
#include "cuda/weight/weight.h"

namespace llmkit::cuda {
namespace {

/// dequantizeRows(weight, ids, y)
void dequantize_rows_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "dequantizeRows");
  const HeldWeight& held = held_weight(args, info[0]);
  if (held.packed != nullptr) args.range_error("a packed weight has no rows to read");
  const Ints ids = args.ints(1);
  DequantizeArgs p;
  p.weight = held.view;
  p.count = ids.size;
  p.ids = ids.data;
  p.y = args.floats(2, ids.size * held.view.cols, "y").data;
  p.report = id_report();
  check(dequantize_rows(p, stream()), "dequantizeRows");
}

void matmul_call(const Napi::CallbackInfo& info) {
  const MatmulArgs p = binding::matmul_arguments(Arguments(info, "matmul"));
  const Scratch memory = scratch(matmul_workspace(p));
  check(matmul(p, memory.data(), stream()), "matmul");
}

/// An argument and its name in messages.
struct Named {
  size_t index;
  const char* name;
};

/// The sizes of a product: of an argument [m, cols] and of one [rows, cols].
template <class Product>
Product sizes_of(const Arguments& args, Named by_m, Named by_rows, size_t cols_index) {
  Product p;
  p.cols = args.positive(cols_index, "cols");
  p.rows = args.quotient(args.elements(by_rows.index).size, p.cols, by_rows.name);
  p.m = args.quotient(args.elements(by_m.index).size, p.cols, by_m.name);
  return p;
}

/// roundedLinear(x, weight, bias, y, cols)
void rounded_linear_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "roundedLinear");
  auto p = sizes_of<RoundedLinearArgs>(args, {0, "x"}, {1, "weight"}, 4);
  p.x = args.elements(0).values;
  p.weight = args.floats(1).data;
  p.bias = args.optional_floats(2, p.rows, "bias").data;
  p.y = args.output_elements(3, p.m * p.rows, "y");
  const Scratch memory = scratch(rounded_linear_workspace(p));
  check(rounded_linear(p, memory.data(), stream()), "roundedLinear");
}

/// roundedLinearGradInput(dy, weight, dx, cols)
void rounded_grad_input_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "roundedLinearGradInput");
  auto p = sizes_of<RoundedGradInputArgs>(args, {2, "dx"}, {1, "weight"}, 3);
  p.dy = args.floats(0, p.m * p.rows, "dy").data;
  p.weight = args.floats(1).data;
  p.dx = args.floats(2).data;
  const Scratch memory = scratch(rounded_grad_input_workspace(p));
  check(rounded_grad_input(p, memory.data(), stream()), "roundedLinearGradInput");
}

/// roundedLinearGradWeight(dy, x, dweight, cols)
void rounded_grad_weight_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "roundedLinearGradWeight");
  auto p = sizes_of<RoundedGradWeightArgs>(args, {1, "x"}, {2, "dweight"}, 3);
  p.dy = args.floats(0, p.m * p.rows, "dy").data;
  p.x = args.elements(1).values;
  p.dweight = args.floats(2).data;
  const Scratch memory = scratch(rounded_grad_weight_workspace(p));
  check(rounded_grad_weight(p, memory.data(), stream()), "roundedLinearGradWeight");
}

}  // namespace

void add_matrices(Napi::Object exports) {
  add_procedure<dequantize_rows_call>(exports, "dequantizeRows");
  add_procedure<matmul_call>(exports, "matmul");
  add_procedure<rounded_linear_call>(exports, "roundedLinear");
  add_procedure<rounded_grad_input_call>(exports, "roundedLinearGradInput");
  add_procedure<rounded_grad_weight_call>(exports, "roundedLinearGradWeight");
}

}  // namespace llmkit::cuda
