#include "binding/product_arguments.h"
#include "cuda/binding/arguments.h"
#include "cuda/lora_linear/lora_linear.h"

namespace llmkit::cuda {
namespace {

void lora_linear_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "loraLinear");
  auto weight = binding::lora_weight<LoraWeight>(args, 2, 3, args.positive(9, "cols"));
  weight.packed = packed_weight(args, 2);
  const LoraArgs p = binding::lora_arguments(args, weight);
  if (weight.packed == nullptr && p.y.is_bf16)
    args.range_error("y must be float32 beside a weight that is not packed");
  const Scratch memory = scratch(lora_linear_workspace(weight, p));
  check(lora_linear(weight, p, memory.data(), stream()), "loraLinear");
}

void lora_linear_grad_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "loraLinearGrad");
  auto weight = binding::lora_weight<LoraWeight>(args, 3, 4, args.positive(11, "cols"));
  weight.packed = packed_weight(args, 3);
  const LoraGradArgs p = binding::lora_grad_arguments(args, weight);
  const Scratch memory = scratch(lora_linear_grad_workspace(weight, p));
  check(lora_linear_grad(weight, p, memory.data(), stream()), "loraLinearGrad");
}

}  // namespace

void add_lora_linears(Napi::Object exports) {
  add_procedure<lora_linear_call>(exports, "loraLinear");
  add_procedure<lora_linear_grad_call>(exports, "loraLinearGrad");
}

}  // namespace llmkit::cuda
