#pragma once

// CUDA for a C++ compiler: kernels run on the host, one fiber for each thread of a block. Meant to
// find mistakes, not to be fast: memory starts poisoned, threads run in an order that can be chosen
// (LLMKIT_EMULATED_ORDER=forward|reverse|shuffled), copies land as late as they may, and work that
// was queued runs when somebody waits for it.

#include "cuda/emulator/atomics.h"
#include "cuda/emulator/bits.h"
#include "cuda/emulator/collectives.h"
#include "cuda/emulator/float16.h"
#include "cuda/emulator/launch.h"
#include "cuda/emulator/math.h"
#include "cuda/emulator/qualifiers.h"
#include "cuda/emulator/runtime.h"
#include "cuda/emulator/shared_memory.h"
#include "cuda/emulator/vector_types.h"
