#pragma once

#include <cmath>
#include <cstdint>

#include "cuda/emulator/collectives.h"
#include "cuda/emulator/shared_memory.h"
#include "cuda/emulator/vector_types.h"

// The instructions of base/instructions.h, by the fragment maps of the PTX ISA.

namespace llmkit::cuda {

// A copy lands when the thread waits for its group: without the wait there is only poison to read.
// Where threads run in reverse it lands at once: what others still read is overwritten.
void copy_async(uint32_t to, const void* from);
void copy_async_or_zero(uint32_t to, const void* from, bool valid);
inline uint64_t evict_first_policy() { return 0; }
inline void copy_async_once(uint32_t to, const void* from, uint64_t) { copy_async(to, from); }
void commit_copies();
namespace emulator {
void wait_copies(size_t pending);
void load_matrices(uint32_t (&r)[4], uint32_t row, bool transposed, Site site);
enum class Float16 { kBf16, kHalf };
void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, Float16 type,
                  Site site);
}  // namespace emulator
template <int kPending>
void wait_copies() {
  emulator::wait_copies(kPending);
}

inline void load_matrices(uint32_t (&r)[4], uint32_t row, LLMKIT_CALLER) {
  emulator::load_matrices(r, row, false, LLMKIT_SITE);
}
inline void load_matrices_transposed(uint32_t (&r)[4], uint32_t row, LLMKIT_CALLER) {
  emulator::load_matrices(r, row, true, LLMKIT_SITE);
}
inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                         LLMKIT_CALLER) {
  emulator::multiply_add(c, a, b0, b1, emulator::Float16::kBf16, LLMKIT_SITE);
}

inline void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                     LLMKIT_CALLER) {
  c[0] = c[1] = c[2] = c[3] = 0;
  emulator::multiply_add(c, a, b0, b1, emulator::Float16::kBf16, LLMKIT_SITE);
}

uint4 load_shared_16(uint32_t address);
uint2 load_shared_8(uint32_t address);
uint32_t load_shared_4(uint32_t address);
void store_shared_4(uint32_t address, uint32_t value);

inline void let_next_begin() {}
inline void wait_for_inputs() { emulator::note_wait(); }

inline float power_of_2(float x) { return x < -126 ? 0 : exp2f(x); }
inline uint32_t and_or(uint32_t a, uint32_t b, uint32_t c) { return (a & b) | c; }

}  // namespace llmkit::cuda
