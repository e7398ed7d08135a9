#pragma once

#include "cpu/lora_linear/lora_linear.h"

namespace llmkit {

// Beside a packed weight LoRA's pair is multiplied within the passes of the frozen product, in
// bf16: x and dy are rounded as for the weight, a, b, low and its gradient are split in two
// (cpu/split), sums are float32.

/// Of a weight whose compute type is not kInt8. Where the kernels have no tiles the update is added in
/// float32.
void packed_lora(const LoraWeight& weight, const LoraArgs& args);
/// Of every packed weight.
void packed_lora_grad(const LoraWeight& weight, const LoraGradArgs& args);

}  // namespace llmkit
