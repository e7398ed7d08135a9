#pragma once

#include <cstddef>

namespace llmkit {

/// Threads a job may use, the caller included: LLMKIT_THREADS, else available_cpus().
/// Ends the process when LLMKIT_THREADS is not a whole number from 1 to 1024.
size_t thread_count();
void set_thread_count(size_t count);

using RangeFn = void (*)(const void* context, size_t begin, size_t end);

/// Covers 0..count with calls of run(context, begin, end) on the pool; see parallel_for.
void parallel_ranges(size_t count, size_t grain, RangeFn run, const void* context);

/// Calls body(begin, end) on disjoint ranges that cover 0..count, on the caller and the pool's
/// threads, and returns when all are done. Each thread has one contiguous share, handed out in
/// ranges that get smaller, down to a quarter of `grain` items, and helps the others when it is
/// done. A loop of less than two grains runs on the caller and wakes nobody. How the ranges fall
/// must not matter to the result. Inside a loop, or while another thread has the pool, the caller
/// does all.
template <typename Body>
void parallel_for(size_t count, size_t grain, const Body& body) {
  parallel_ranges(
      count, grain,
      [](const void* context, size_t begin, size_t end) {
        (*static_cast<const Body*>(context))(begin, end);
      },
      &body);
}

/// A little work (some 100 nanoseconds at most) for a thread that waits.
using WaitingWork = void (*)();

/// What the calling thread, where it is one of the pool's, does from now on between its looks for
/// the next loop, in the first microseconds after one.
void while_waiting(WaitingWork work);

/// Items of `work` operations each that make a task worth handing over (about 10 microseconds).
inline size_t grain_for(size_t work) {
  constexpr size_t kWorkPerTask = 200000;
  return work >= kWorkPerTask ? 1 : kWorkPerTask / (work == 0 ? 1 : work);
}

/// parallel_for over n elements of `work` operations each, cut at multiples of 1024.
template <typename Body>
void parallel_elements(size_t n, size_t work, const Body& body) {
  constexpr size_t kBlock = 1024;
  parallel_for((n + kBlock - 1) / kBlock, grain_for(work * kBlock), [&](size_t begin, size_t end) {
    body(begin * kBlock, end * kBlock < n ? end * kBlock : n);
  });
}

}  // namespace llmkit
