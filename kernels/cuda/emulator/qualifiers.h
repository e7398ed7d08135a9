#pragma once

// The words of CUDA's dialect of C++.

#define LLMKIT_TEXT_OF(x) #x
#define LLMKIT_TEXT(x) LLMKIT_TEXT_OF(x)

#define __host__
#define __device__
#define __global__
#define __constant__
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline
#define __align__(n) __attribute__((aligned(n)))

/// One copy serves every block, for blocks run one after the other. Each declaration has a section
/// of its own, so that the emulator knows where shared variables lie and poisons them
/// (shared_memory.h); one section for all would mix those of templates with others, which GCC
/// refuses.
#define __shared__ static __attribute__((section("llmkit_shared_" LLMKIT_TEXT(__COUNTER__))))
