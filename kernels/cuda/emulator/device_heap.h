#pragma once

#include <cstddef>
#include <map>

namespace llmkit::cuda::emulator {

/// The memory of the emulated device. The host may not touch it but through copies: where the
/// processor has protection keys, that ends the process. Under the address sanitizer every block is
/// one of malloc's instead, so that a kernel that leaves it is found.
class DeviceHeap {
 public:
  DeviceHeap();
  /// New memory is NaN, or -1; null when there is no room.
  void* allocate(size_t bytes);
  /// Fails when something was written behind the block.
  void release(void* p, size_t bytes);

 private:
  char* begin_ = nullptr;
  size_t size_;
  std::map<char*, size_t> free_;  // by address, no two side by side
};

DeviceHeap& device_heap();

/// While one lives, this thread may touch the memory of the device.
class DeviceAccess {
 public:
  DeviceAccess();
  ~DeviceAccess();
  DeviceAccess(const DeviceAccess&) = delete;
  DeviceAccess& operator=(const DeviceAccess&) = delete;
};

}  // namespace llmkit::cuda::emulator
