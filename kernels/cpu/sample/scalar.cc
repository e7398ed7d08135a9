#include "cpu/sample/generic.h"
#include "cpu/sample/sample.h"

namespace llmkit {

const SampleKernels sample_f64_scalar = {largest_logit, widen,   largest, weigh,
                                         above,         between, clear,   sum};

}  // namespace llmkit
