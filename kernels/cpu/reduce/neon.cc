#include "base/simd/neon.h"

#include "cpu/reduce/generic.h"
#include "cpu/reduce/reduce.h"

namespace llmkit {

const ReduceKernels reduce_f32_neon = {
    {sum_rows, mean_rows, max_rows}, {sum_middle, mean_middle, max_middle}, argmax_rows};

}  // namespace llmkit
