#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace llmkit::cuda {

namespace emulator {

/// Bytes [begin, end).
struct Range {
  char *begin, *end;
};

/// The shared memory of the block that runs. It starts out as 0xff: NaN, or -1.
class SharedMemory {
 public:
  SharedMemory();
  void begin_launch(const void* kernel, size_t dynamic_bytes);
  void begin_block();
  void end_block();

  char* dynamic() { return dynamic_; }
  /// The 32-bit address of a byte of it; fails for other memory.
  uint32_t address_of(const void* p) const;
  /// Where `bytes` from an address lie; fails outside of it, or when not aligned to them.
  char* at(uint32_t address, size_t bytes) const;
  /// The same for a run of bytes of dynamic memory, aligned to 16.
  char* range(uint32_t address, size_t bytes) const;

  /// 16 bytes of dynamic memory that a thread's cp.async wrote: products of warpgroups must not
  /// read them before that thread has published them.
  void note_written(const char* p, unsigned thread);
  void publish(unsigned thread);
  void publish(const char* p, size_t bytes);
  void check_published(uint32_t address) const;

 private:
  void poison() const;
  void learn();
  const Range* range_of(const char* p) const;

  std::vector<Range> statics_;                      // of all kernels
  std::map<const void*, std::vector<Range>> used_;  // those that a kernel was seen to write
  std::vector<Range>* used_here_ = nullptr;
  bool learning_ = false;
  char* statics_begin_ = nullptr;
  char* dynamic_ = nullptr;
  size_t dynamic_bytes_ = 0, capacity_ = 0;
  std::vector<uint16_t> writers_;                 // of each 16 bytes: 1 + the thread, 0: published
  std::vector<std::vector<size_t>> unpublished_;  // of each thread
};

SharedMemory& shared_memory();

}  // namespace emulator

/// The dynamic shared memory of the block.
inline char* dynamic_shared() { return emulator::shared_memory().dynamic(); }

/// Where a byte of shared memory lies, as the instructions of base/instructions.h want it.
inline uint32_t shared_address(const void* p) { return emulator::shared_memory().address_of(p); }

}  // namespace llmkit::cuda
