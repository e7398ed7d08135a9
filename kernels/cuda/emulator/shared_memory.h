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
};

SharedMemory& shared_memory();

}  // namespace emulator

/// The dynamic shared memory of the block.
inline char* dynamic_shared() { return emulator::shared_memory().dynamic(); }

/// Where a byte of shared memory lies, as the instructions of base/instructions.h want it.
inline uint32_t shared_address(const void* p) { return emulator::shared_memory().address_of(p); }

}  // namespace llmkit::cuda
