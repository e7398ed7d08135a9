#pragma once

#include "cpu/attention/backward.h"
#include "cpu/attention/decode.h"
#include "cpu/attention/forward.h"

// The kernels of one instruction set: include base/simd/<isa>.h and name kRowVecs and kSplats
// first.

namespace llmkit {
namespace {  // a copy per instruction set

inline size_t scratch_size(size_t E) { return kTileRows * (5 * padded(E) + 2 * kBufferKeys); }

}  // namespace
}  // namespace llmkit
