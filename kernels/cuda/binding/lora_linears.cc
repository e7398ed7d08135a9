#include "binding/product_arguments.h"
#include "cuda/binding/arguments.h"
#include "cuda/lora_linear/lora_linear.h"

namespace llmkit::cuda {
namespace {

/// loraLinear(x, dropped, weight, a, b, scale, bias, y, low, cols)
LoraArgs lora_arguments(const Arguments& args, const LoraWeight& w) {
  const size_t rows = w.weight.rows;
  const StoredElements x = args.elements(0);
  LoraArgs p;
  p.m = args.quotient(x.size, w.weight.cols, "x");
  p.x = x.values;
  p.dropped = args.elements(1, x.size, "dropped");
  p.bias = args.optional_floats(6, rows, "bias").data;
  const size_t size = args.product({p.m, rows});
  if (w.packed != nullptr)
    p.y = args.output_elements(7, size, "y");
  else
    p.y = args.floats(7, size, "y").data;
  p.low = args.floats(8, args.product({p.m, w.rank}), "low").data;
  return p;
}

/// loraLinearGrad(dy, dropped, low, weight, a, b, scale, dx, ddropped, da, db, cols)
LoraGradArgs lora_grad_arguments(const Arguments& args, const LoraWeight& w) {
  const size_t rows = w.weight.rows, cols = w.weight.cols;
  const StoredElements dropped = args.elements(1);
  LoraGradArgs p;
  p.m = args.quotient(dropped.size, cols, "dropped");
  p.dy = args.floats(0, args.product({p.m, rows}), "dy").data;
  p.dropped = dropped.values;
  p.low = args.floats(2, args.product({p.m, w.rank}), "low").data;
  p.dx = args.floats(7, dropped.size, "dx").data;
  p.ddropped = args.optional_floats(8, dropped.size, "ddropped").data;
  p.da = args.floats(9, w.rank * cols, "da").data;
  p.db = args.floats(10, rows * w.rank, "db").data;
  return p;
}

void lora_linear_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "loraLinear");
  auto weight = binding::lora_weight<LoraWeight>(args, 2, args.positive(9, "cols"));
  weight.packed = packed_weight(args, 2);
  const LoraArgs p = lora_arguments(args, weight);
  const Scratch memory = scratch(lora_linear_workspace(weight, p));
  check(lora_linear(weight, p, memory.data(), stream()), "loraLinear");
}

void lora_linear_grad_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "loraLinearGrad");
  auto weight = binding::lora_weight<LoraWeight>(args, 3, args.positive(11, "cols"));
  weight.packed = packed_weight(args, 3);
  const LoraGradArgs p = lora_grad_arguments(args, weight);
  const Scratch memory = scratch(lora_linear_grad_workspace(weight, p));
  check(lora_linear_grad(weight, p, memory.data(), stream()), "loraLinearGrad");
}

}  // namespace

void add_lora_linears(Napi::Object exports) {
  add_procedure<lora_linear_call>(exports, "loraLinear");
  add_procedure<lora_linear_grad_call>(exports, "loraLinearGrad");
}

}  // namespace llmkit::cuda
