#include "base/simd/scalar.h"

#include "cpu/activation/activation.h"
#include "cpu/activation/generic.h"

namespace llmkit {

const ActivationKernels activation_f32_scalar = {
    LLMKIT_ACTIVATION_TABLE(value_of), LLMKIT_ACTIVATION_TABLE(gradient_of),
    LLMKIT_ACTIVATION_TABLE(gated_of), LLMKIT_ACTIVATION_TABLE(gated_gradient_of)};

}  // namespace llmkit
