#pragma once

#include <cstddef>

namespace llmkit::cuda::emulator {

// The order in which threads and blocks run, LLMKIT_EMULATED_ORDER=forward|reverse|shuffled. A
// kernel that lacks a barrier gives other results in one of them.

/// Before the blocks of a launch run.
void start_schedule(size_t blocks);

/// Which block runs as the i-th.
size_t block_in_turn(size_t i);

enum class Order { kForward, kReverse, kShuffled };
extern const Order schedule_order;

unsigned random_turn();

/// One of the bits that are set.
inline unsigned pick(unsigned bits) {
  if (schedule_order == Order::kForward) return static_cast<unsigned>(__builtin_ctz(bits));
  if (schedule_order == Order::kReverse) return 31 - static_cast<unsigned>(__builtin_clz(bits));
  // Rotated by chance: not every bit is as likely, but each has its turn.
  const unsigned turn = random_turn() % 32;
  const unsigned rotated = bits >> turn | bits << (32 - turn) % 32;
  return (static_cast<unsigned>(__builtin_ctz(rotated)) + turn) % 32;
}

/// Whether the next thread may be of another warp although this one has more to run.
inline bool schedule_changes_warp() { return schedule_order == Order::kShuffled; }

}  // namespace llmkit::cuda::emulator
