#pragma once

#include <cstddef>
#include <cstdint>

namespace llmkit {

/// Brings the beginning of the next weight into the second-level cache while a thread waits for the
/// loop that reads it. Decoding multiplies with the same weights in the same order for every token,
/// so a thread remembers what it read first after each wait, and what followed that the last time.
///
/// Only addresses are kept, and prefetching one never faults: a weight freed meanwhile costs a read
/// in vain. One object per thread; it is not to be shared.
class ReadAhead {
 public:
  /// Bytes asked for in a wait: what a core reads between two products of a token, and half of the
  /// second-level cache or less.
  static constexpr size_t kMostBytes = size_t{512} << 10;
  /// Bytes asked for between two pauses of the processor. AMD's drops requests that find no buffer
  /// free: of a stream without pauses it dropped half, of 2 KB at a time a third.
  static constexpr size_t kStepBytes = 1024;

  /// The thread is about to read `size` bytes of a weight, or as many as are its share. Only the
  /// first call after a wait counts.
  void begin(const uint8_t* data, size_t size);
  /// The thread waits. False when there is nothing more to ask for.
  bool fetch();

 private:
  /// After `from`, this was read.
  struct Step {
    uintptr_t from, next;
    size_t size;
  };
  /// Of more places than a token has products, so that few collide.
  static constexpr size_t kStepBits = 10;
  Step& step_after(uintptr_t from);

  Step steps_[size_t{1} << kStepBits] = {};
  uintptr_t current_ = 0;         // what was read first after the last wait
  uintptr_t next_ = 0, end_ = 0;  // what is still to be asked for
  bool waited_ = false;
};

/// The same of the calling thread, which from now on fetches while it waits in the pool.
void begin_reading(const uint8_t* data, size_t size);

}  // namespace llmkit
