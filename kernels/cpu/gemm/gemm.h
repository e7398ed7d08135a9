#pragma once

#include "base/products.h"

namespace llmkit {

/// Matrix products on one thread, the two forms of base/products.h. No buffers may overlap.
/// An output's bits depend only on its own row and column of the operands: not on m, not on n.
struct GemmKernels {
  void (*dot)(const DotArgs& args);
  void (*axpy)(const AxpyArgs& args);
};

#define GEMM_KERNELS(isa, name) extern const GemmKernels name;
#include "cpu/gemm/kernels.inc"
#undef GEMM_KERNELS

/// The best kernels for this machine.
const GemmKernels& gemm_f32();

}  // namespace llmkit
