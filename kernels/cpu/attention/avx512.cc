#include "base/simd/avx512.h"

#include "cpu/attention/attention.h"
#include "cpu/attention/generic.h"

namespace llmkit {

const AttentionKernels attention_f32_avx512 = {forward_rows, grad_query_rows, grad_key_block};

}  // namespace llmkit
