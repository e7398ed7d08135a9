#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "cuda/emulator/context.h"
#include "cuda/emulator/vector_types.h"

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace llmkit::cuda::emulator {

/// A line of a source file.
struct Site {
  const char* file = nullptr;
  int line = 0;
  bool operator==(const Site& other) const { return file == other.file && line == other.line; }
};

/// A launch of a kernel. `threads` runs it, as the thread that was made the running one, and again
/// while next_thread() says so.
struct Work {
  dim3 grid, block;
  size_t shared_bytes = 0;
  const void* kernel = nullptr;
  Site site;
  bool early = false;  // every thread must wait for its inputs
  std::function<void()> threads;
};

/// Ends the running thread; whether another one is to begin in its place.
bool next_thread();

/// Runs every block of it, one after the other.
void run(const Work& work);

/// Ends the process over a mistake of the running kernel: says what, in which launch and thread.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

/// What the lanes of a warp do once all of them have come: payloads[l] is what lane l of the mask
/// brought.
using Together = void (*)(void* const* payloads, unsigned mask);

/// The running thread waits for the other lanes of `mask`; the last that comes calls `together`.
void meet(unsigned mask, Together together, void* payload, Site site);

/// How many threads of the block came to the barrier with a predicate that holds.
int barrier(bool predicate, Site site);

/// The running thread's number in its block. It stops until another makes it ready.
unsigned thread_of_block();
void wait_until_ready();
void make_ready(unsigned thread);

/// The running thread waits for what earlier kernels write, which is there already.
void note_wait();

/// A copy from global to shared memory that has not landed.
struct Copy {
  char* to;
  const char* from;
  unsigned bytes;  // from there; zeros for the rest of 16
};

/// The copies of a thread, with the ends of their groups.
struct Copies {
  std::vector<Copy> copies;
  std::vector<size_t> group_ends;
};
Copies& copies_of_thread();

}  // namespace llmkit::cuda::emulator
