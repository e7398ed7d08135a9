#pragma once

// Atomic operations: plain ones, for threads take turns. There is none on floats: their order would
// change results.

#define LLMKIT_ATOMICS(T)                         \
  inline T atomicAdd(T* p, T value) {             \
    const T old = *p;                             \
    *p = static_cast<T>(old + value);             \
    return old;                                   \
  }                                               \
  inline T atomicMax(T* p, T value) {             \
    const T old = *p;                             \
    if (value > old) *p = value;                  \
    return old;                                   \
  }                                               \
  inline T atomicMin(T* p, T value) {             \
    const T old = *p;                             \
    if (value < old) *p = value;                  \
    return old;                                   \
  }                                               \
  inline T atomicExch(T* p, T value) {            \
    const T old = *p;                             \
    *p = value;                                   \
    return old;                                   \
  }                                               \
  inline T atomicOr(T* p, T value) {              \
    const T old = *p;                             \
    *p = old | value;                             \
    return old;                                   \
  }                                               \
  inline T atomicAnd(T* p, T value) {             \
    const T old = *p;                             \
    *p = old & value;                             \
    return old;                                   \
  }                                               \
  inline T atomicCAS(T* p, T expected, T value) { \
    const T old = *p;                             \
    if (old == expected) *p = value;              \
    return old;                                   \
  }

LLMKIT_ATOMICS(int)
LLMKIT_ATOMICS(unsigned)
LLMKIT_ATOMICS(unsigned long long)
#undef LLMKIT_ATOMICS

/// Counts up from 0 to `last`, then starts again.
inline unsigned atomicInc(unsigned* p, unsigned last) {
  const unsigned old = *p;
  *p = old >= last ? 0 : old + 1;
  return old;
}

inline void __threadfence() {}
inline void __threadfence_block() {}
