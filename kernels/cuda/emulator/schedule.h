#pragma once

#include <cstddef>

namespace llmkit::cuda::emulator {

// The order in which threads and blocks run, LLMKIT_EMULATED_ORDER=forward|reverse|shuffled. A
// kernel that lacks a barrier gives other results in one of them.

/// Before the blocks of a launch run.
void start_schedule(size_t blocks);

/// Which block runs as the i-th.
size_t block_in_turn(size_t i);

/// One of the bits that are set.
unsigned pick(unsigned bits);

/// Whether the next thread may be of another warp although this one has more to run.
bool schedule_changes_warp();

}  // namespace llmkit::cuda::emulator
