#include "cuda/binding/arguments.h"
#include "cuda/lora_linear/lora_linear.h"

namespace llmkit::cuda {
namespace {

/// weight, a, b and scale of the functions with LoRA, at `index` and after it.
LoraWeight lora_weight(const Arguments& args, size_t index, size_t cols) {
  LoraWeight w;
  w.weight = args.matrix(index, cols);
  w.packed = packed_weight(args, index);
  const Floats a = args.floats(index + 1);
  w.rank = args.quotient(a.size, cols, "a");
  w.a = a.data;
  w.b = args.floats(index + 2, args.product({w.weight.rows, w.rank}), "b").data;
  w.scale = args.real(index + 3);
  return w;
}

/// loraLinear(x, dropped, weight, a, b, scale, bias, y, low, cols)
void lora_linear_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "loraLinear");
  const size_t cols = args.positive(9, "cols");
  const Floats x = args.floats(0);
  LoraArgs p;
  p.weight = lora_weight(args, 2, cols);
  p.m = args.quotient(x.size, cols, "x");
  p.x = x.data;
  p.dropped = args.floats(1, x.size, "dropped").data;
  p.bias = args.optional_floats(6, p.weight.weight.rows, "bias").data;
  p.y = args.floats(7, p.m * p.weight.weight.rows, "y").data;
  p.low = args.floats(8, p.m * p.weight.rank, "low").data;
  const Scratch memory = scratch(lora_linear_workspace(p));
  check(lora_linear(p, memory.data(), stream()), "loraLinear");
}

/// loraLinearGrad(dy, dropped, low, weight, a, b, scale, dx, ddropped, da, db, cols)
void lora_linear_grad_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "loraLinearGrad");
  const size_t cols = args.positive(11, "cols");
  const Floats dropped = args.floats(1);
  LoraGradArgs p;
  p.weight = lora_weight(args, 3, cols);
  const size_t rows = p.weight.weight.rows, rank = p.weight.rank;
  p.m = args.quotient(dropped.size, cols, "dropped");
  p.dy = args.floats(0, p.m * rows, "dy").data;
  p.dropped = dropped.data;
  p.low = args.floats(2, p.m * rank, "low").data;
  p.dx = args.floats(7, dropped.size, "dx").data;
  p.ddropped = args.optional_floats(8, dropped.size, "ddropped").data;
  p.da = args.floats(9, rank * cols, "da").data;
  p.db = args.floats(10, rows * rank, "db").data;
  const Scratch memory = scratch(lora_linear_grad_workspace(p));
  check(lora_linear_grad(p, memory.data(), stream()), "loraLinearGrad");
}

}  // namespace

void add_lora_linears(Napi::Object exports) {
  add_procedure<lora_linear_call>(exports, "loraLinear");
  add_procedure<lora_linear_grad_call>(exports, "loraLinearGrad");
}

}  // namespace llmkit::cuda
