#include "base/simd/avx2.h"

#include "cpu/reduce/generic.h"
#include "cpu/reduce/reduce.h"

namespace llmkit {

const ReduceKernels reduce_f32_avx2 = {
    {sum_rows, mean_rows, max_rows}, {sum_middle, mean_middle, max_middle}, argmax_rows};

}  // namespace llmkit
