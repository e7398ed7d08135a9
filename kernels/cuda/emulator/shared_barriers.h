#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "cuda/emulator/block.h"

namespace llmkit::cuda::emulator {

/// A barrier in shared memory (mbarrier): a phase ends with the last arrival and the last byte.
struct SharedBarrier {
  uint32_t count = 0, missing = 0;
  int64_t bytes = 0;  // expected and not yet there
  uint32_t phase = 0;
  bool published = false;
  std::vector<unsigned> waiting;  // threads

  bool has_ended(uint32_t parity) const { return (phase & 1) != (parity & 1); }
};

/// A copy by the copy engine that has not landed.
struct BulkCopy {
  char* to;
  const char* from;
  uint32_t bytes, barrier;
};

/// The barriers and the copies of the block that runs.
class SharedBarriers {
 public:
  void begin_block() { barriers_.clear(), copies_.clear(); }
  /// Fails over copies that are still under way.
  void end_block() const;

  void init(uint32_t address, uint32_t count);
  void publish();
  void arrive(uint32_t address, uint32_t bytes);
  void queue(const BulkCopy& copy);
  /// Lands all copies, when no thread can go on without; whether there were any.
  bool land_all();
  bool has_ended(uint32_t address, uint32_t parity) { return at(address).has_ended(parity); }
  void add_waiting(uint32_t address, unsigned thread) { at(address).waiting.push_back(thread); }
  /// Says what threads wait for.
  void list_waiting() const;

 private:
  SharedBarrier& at(uint32_t address);
  void land(const BulkCopy& copy);
  void end_phase(SharedBarrier& barrier);

  std::map<uint32_t, SharedBarrier> barriers_;
  std::vector<BulkCopy> copies_;
};

SharedBarriers& shared_barriers();

}  // namespace llmkit::cuda::emulator
