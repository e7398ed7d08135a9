#include "cpu/attention_bf16/avx512_bf16_products.h"
#include "cpu/attention_bf16/generic.h"

namespace llmkit {

const AttentionBf16Kernels attention_bf16_avx512_bf16 = kKernels;

}  // namespace llmkit
