#include "base/simd/avx512.h"

#include "cpu/reduce/generic.h"
#include "cpu/reduce/reduce.h"

namespace llmkit {

const ReduceKernels reduce_f32_avx512 = {
    {sum_rows, mean_rows, max_rows}, {sum_middle, mean_middle, max_middle}, argmax_rows};

}  // namespace llmkit
