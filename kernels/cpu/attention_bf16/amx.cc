#include "cpu/attention_bf16/amx_products.h"
#include "cpu/attention_bf16/generic.h"

namespace llmkit {

const AttentionBf16Kernels attention_bf16_amx = kKernels;

}  // namespace llmkit
