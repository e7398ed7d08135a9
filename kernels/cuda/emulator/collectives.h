#pragma once

#include <cstdint>
#include <cstring>

#include "cuda/emulator/block.h"

// What the threads of a warp, or of a block, do together. Every function takes the place of its
// call behind its last argument, so that a mistake is reported with it.

#define LLMKIT_CALLER const char *file = __builtin_FILE(), int line = __builtin_LINE()

namespace llmkit::cuda::emulator {

/// What a lane brings to an exchange, and gets.
struct Exchange {
  uint64_t value;
  unsigned from;  // the lane it wants to read, or 32: nobody
  uint64_t result;
};

inline void exchange(void* const* payloads, unsigned mask) {
  for (unsigned lane = 0; lane < 32; ++lane) {
    if (!(mask >> lane & 1)) continue;
    Exchange& mine = *static_cast<Exchange*>(payloads[lane]);
    if (!(mask >> mine.from & 1))
      fail("a shuffle reads lane %u, which the mask %#x leaves out", mine.from, mask);
    mine.result = static_cast<Exchange*>(payloads[mine.from])->value;
  }
}

template <class T>
T shuffle(unsigned mask, T value, unsigned from, Site site) {
  static_assert(sizeof(T) <= 8);
  Exchange mine = {0, from, 0};
  std::memcpy(&mine.value, &value, sizeof(T));
  meet(mask, exchange, &mine, site);
  std::memcpy(&value, &mine.result, sizeof(T));
  return value;
}

inline unsigned lane_id() {
  return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32;
}

/// What a lane brings to a vote or a sum, and the result of all.
struct Ballot {
  uint64_t value;
  uint64_t result;
};

/// The values of all lanes folded in ascending order.
template <class Fold>
void fold_all(void* const* payloads, unsigned mask) {
  uint64_t total = 0;
  bool first = true;
  for (unsigned lane = 0; lane < 32; ++lane) {
    if (!(mask >> lane & 1)) continue;
    const uint64_t value = static_cast<Ballot*>(payloads[lane])->value;
    total = first ? value : Fold::of(total, value);
    first = false;
  }
  for (unsigned lane = 0; lane < 32; ++lane)
    if (mask >> lane & 1) static_cast<Ballot*>(payloads[lane])->result = total;
}

struct Or {
  static uint64_t of(uint64_t a, uint64_t b) { return a | b; }
};
struct And {
  static uint64_t of(uint64_t a, uint64_t b) { return a & b; }
};
struct Xor {
  static uint64_t of(uint64_t a, uint64_t b) { return a ^ b; }
};
struct Add {
  static uint64_t of(uint64_t a, uint64_t b) { return a + b; }
};
template <class T>
struct Min {
  static uint64_t of(uint64_t a, uint64_t b) {
    return static_cast<T>(a) < static_cast<T>(b) ? a : b;
  }
};
template <class T>
struct Max {
  static uint64_t of(uint64_t a, uint64_t b) {
    return static_cast<T>(a) < static_cast<T>(b) ? b : a;
  }
};

template <class Fold>
uint64_t vote(unsigned mask, uint64_t value, Site site) {
  Ballot mine = {value, 0};
  meet(mask, fold_all<Fold>, &mine, site);
  return mine.result;
}

}  // namespace llmkit::cuda::emulator

#define LLMKIT_EMULATOR ::llmkit::cuda::emulator
#define LLMKIT_SITE (::llmkit::cuda::emulator::Site{file, line})

inline void __syncthreads(LLMKIT_CALLER) { LLMKIT_EMULATOR::barrier(true, LLMKIT_SITE); }
inline int __syncthreads_count(int predicate, LLMKIT_CALLER) {
  return LLMKIT_EMULATOR::barrier(predicate != 0, LLMKIT_SITE);
}
inline int __syncthreads_or(int predicate, LLMKIT_CALLER) {
  return LLMKIT_EMULATOR::barrier(predicate != 0, LLMKIT_SITE) > 0;
}
inline int __syncthreads_and(int predicate, LLMKIT_CALLER) {
  return LLMKIT_EMULATOR::barrier(predicate == 0, LLMKIT_SITE) == 0;
}
inline void __syncwarp(unsigned mask = ~0u, LLMKIT_CALLER) {
  LLMKIT_EMULATOR::vote<LLMKIT_EMULATOR::Or>(mask, 0, LLMKIT_SITE);
}

template <class T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32, LLMKIT_CALLER) {
  const unsigned lane = LLMKIT_EMULATOR::lane_id(), w = static_cast<unsigned>(width);
  const unsigned source = (lane & ~(w - 1)) + (static_cast<unsigned>(from) & (w - 1));
  return LLMKIT_EMULATOR::shuffle(mask, value, source, LLMKIT_SITE);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, LLMKIT_CALLER) {
  const unsigned lane = LLMKIT_EMULATOR::lane_id(), w = static_cast<unsigned>(width);
  const unsigned source = lane ^ static_cast<unsigned>(bits);
  const bool above = (source & ~(w - 1)) > (lane & ~(w - 1));  // a later segment: the own value
  return LLMKIT_EMULATOR::shuffle(mask, value, above ? lane : source, LLMKIT_SITE);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, LLMKIT_CALLER) {
  const unsigned lane = LLMKIT_EMULATOR::lane_id(), w = static_cast<unsigned>(width);
  const bool inside = (lane & (w - 1)) >= delta;
  return LLMKIT_EMULATOR::shuffle(mask, value, inside ? lane - delta : lane, LLMKIT_SITE);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, LLMKIT_CALLER) {
  const unsigned lane = LLMKIT_EMULATOR::lane_id(), w = static_cast<unsigned>(width);
  const bool inside = (lane & (w - 1)) + delta < w;
  return LLMKIT_EMULATOR::shuffle(mask, value, inside ? lane + delta : lane, LLMKIT_SITE);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, LLMKIT_CALLER) {
  const uint64_t bit = predicate != 0 ? uint64_t{1} << LLMKIT_EMULATOR::lane_id() : 0;
  return static_cast<unsigned>(LLMKIT_EMULATOR::vote<LLMKIT_EMULATOR::Or>(mask, bit, LLMKIT_SITE));
}
inline int __any_sync(unsigned mask, int predicate, LLMKIT_CALLER) {
  return LLMKIT_EMULATOR::vote<LLMKIT_EMULATOR::Or>(mask, predicate != 0, LLMKIT_SITE) != 0;
}
inline int __all_sync(unsigned mask, int predicate, LLMKIT_CALLER) {
  return LLMKIT_EMULATOR::vote<LLMKIT_EMULATOR::And>(mask, predicate != 0, LLMKIT_SITE) != 0;
}

#define LLMKIT_REDUCE(name, T, Fold)                                                   \
  inline T __reduce_##name##_sync(unsigned mask, T value, LLMKIT_CALLER) {             \
    return static_cast<T>(                                                             \
        LLMKIT_EMULATOR::vote<Fold>(mask, static_cast<uint64_t>(value), LLMKIT_SITE)); \
  }
LLMKIT_REDUCE(add, unsigned, LLMKIT_EMULATOR::Add)
LLMKIT_REDUCE(add, int, LLMKIT_EMULATOR::Add)
LLMKIT_REDUCE(min, unsigned, LLMKIT_EMULATOR::Min<unsigned>)
LLMKIT_REDUCE(min, int, LLMKIT_EMULATOR::Min<int>)
LLMKIT_REDUCE(max, unsigned, LLMKIT_EMULATOR::Max<unsigned>)
LLMKIT_REDUCE(max, int, LLMKIT_EMULATOR::Max<int>)
LLMKIT_REDUCE(or, unsigned, LLMKIT_EMULATOR::Or)
LLMKIT_REDUCE(and, unsigned, LLMKIT_EMULATOR::And)
LLMKIT_REDUCE(xor, unsigned, LLMKIT_EMULATOR::Xor)
#undef LLMKIT_REDUCE
