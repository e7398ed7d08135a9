#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "cuda/emulator/device.h"
#include "cuda/emulator/device_heap.h"
#include "cuda/emulator/runtime.h"
#include "cuda/emulator/streams.h"

using namespace llmkit::cuda::emulator;

namespace {

constexpr size_t kAlignment = 256;  // of pinned memory

struct Allocation {
  size_t bytes;
  cudaMemoryType type;
};

/// What was allocated or registered, by its first byte.
struct Memory {
  std::map<const char*, Allocation> allocations;
  size_t used = 0, most_used = 0;

  const std::pair<const char* const, Allocation>* find(const void* p) const {
    auto after = allocations.upper_bound(static_cast<const char*>(p));
    if (after == allocations.begin()) return nullptr;
    --after;
    const size_t offset = static_cast<size_t>(static_cast<const char*>(p) - after->first);
    return offset <= after->second.bytes ? &*after : nullptr;
  }
};

Memory& memory() {
  static Memory& all = *new Memory;
  return all;
}

cudaError_t allocate(void** pointer, size_t bytes, cudaMemoryType type) {
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  Memory& all = memory();
  const bool device = type == cudaMemoryTypeDevice;
  if (device && all.used + bytes > device_memory()) return report(cudaErrorMemoryAllocation);
  if (device)
    *pointer = device_heap().allocate(bytes);
  else if (posix_memalign(pointer, kAlignment, bytes) != 0)
    *pointer = nullptr;
  if (*pointer == nullptr) return report(cudaErrorMemoryAllocation);
  all.allocations[static_cast<char*>(*pointer)] = {bytes, type};
  if (device) all.used += bytes;
  all.most_used = std::max(all.most_used, all.used);
  return cudaSuccess;
}

cudaError_t release(void* pointer, cudaMemoryType type) {
  if (pointer == nullptr) return cudaSuccess;
  Memory& all = memory();
  const auto found = all.allocations.find(static_cast<char*>(pointer));
  if (found == all.allocations.end() || found->second.type != type)
    return report(cudaErrorInvalidValue);
  const size_t bytes = found->second.bytes;
  all.allocations.erase(found);
  if (type != cudaMemoryTypeDevice) {
    std::free(pointer);
    return cudaSuccess;
  }
  all.used -= bytes;
  device_heap().release(pointer, bytes);
  return cudaSuccess;
}

bool is_device(const void* p) {
  const auto* const found = memory().find(p);
  return found != nullptr && found->second.type == cudaMemoryTypeDevice;
}

/// Whether a copy's end is where its kind says, and inside of one allocation.
bool is_valid_end(const void* p, size_t bytes, bool device) {
  const auto* const found = memory().find(p);
  if (found == nullptr) return !device;
  if ((found->second.type == cudaMemoryTypeDevice) != device) return false;
  return static_cast<const char*>(p) + bytes <= found->first + found->second.bytes;
}

/// cudaMemcpyDefault by where the pointers point.
cudaMemcpyKind known_kind(const void* to, const void* from, cudaMemcpyKind kind) {
  if (kind != cudaMemcpyDefault) return kind;
  if (is_device(to)) return is_device(from) ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice;
  return is_device(from) ? cudaMemcpyDeviceToHost : cudaMemcpyHostToHost;
}

bool is_valid_copy(const void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (is_valid_end(to, bytes, to_device) && is_valid_end(from, bytes, from_device)) return true;
  std::fprintf(stderr, "emulator: a copy of %zu bytes, kind %d, that its pointers do not allow\n",
               bytes, kind);
  return false;
}

bool is_pageable(const void* p) { return memory().find(p) == nullptr; }

cudaError_t refuse_or(cudaError_t (*action)(void*, cudaMemoryType), void* p, cudaMemoryType type) {
  if (const cudaError_t error = refuse_while_capturing(); error != cudaSuccess) return error;
  drain_all();
  return action(p, type);
}

}  // namespace

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  const Lock lock(runtime_mutex());
  if (const cudaError_t error = refuse_while_capturing(); error != cudaSuccess) return error;
  return allocate(pointer, bytes, cudaMemoryTypeDevice);
}
cudaError_t cudaFree(void* pointer) {
  const Lock lock(runtime_mutex());
  return refuse_or(release, pointer, cudaMemoryTypeDevice);
}
cudaError_t cudaMallocAsync(void** pointer, size_t bytes, cudaStream_t) {
  return cudaMalloc(pointer, bytes);
}
cudaError_t cudaMallocFromPoolAsync(void** pointer, size_t bytes, cudaMemPool_t, cudaStream_t) {
  return cudaMalloc(pointer, bytes);
}
cudaError_t cudaFreeAsync(void* pointer, cudaStream_t stream) {
  const Lock lock(runtime_mutex());
  if (const cudaError_t error = refuse_while_capturing(); error != cudaSuccess) return error;
  if (pointer != nullptr && !is_device(pointer)) return report(cudaErrorInvalidValue);
  return queue(stream, [=] { release(pointer, cudaMemoryTypeDevice); });
}

cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) {
  const Lock lock(runtime_mutex());
  if (const cudaError_t error = refuse_while_capturing(); error != cudaSuccess) return error;
  return allocate(pointer, bytes, cudaMemoryTypeHost);
}
cudaError_t cudaMallocHost(void** pointer, size_t bytes) {
  return cudaHostAlloc(pointer, bytes, cudaHostAllocDefault);
}
cudaError_t cudaFreeHost(void* pointer) {
  const Lock lock(runtime_mutex());
  return refuse_or(release, pointer, cudaMemoryTypeHost);
}
cudaError_t cudaHostRegister(void* pointer, size_t bytes, unsigned) {
  const Lock lock(runtime_mutex());
  if (bytes == 0 || memory().find(pointer) != nullptr) return report(cudaErrorInvalidValue);
  memory().allocations[static_cast<char*>(pointer)] = {bytes, cudaMemoryTypeHost};
  return cudaSuccess;
}
cudaError_t cudaHostUnregister(void* pointer) {
  const Lock lock(runtime_mutex());
  drain_all();
  return memory().allocations.erase(static_cast<char*>(pointer)) == 1
             ? cudaSuccess
             : report(cudaErrorInvalidValue);
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  const Lock lock(runtime_mutex());
  const auto* const found = memory().find(pointer);
  void* const p = const_cast<void*>(pointer);
  *attributes = {cudaMemoryTypeUnregistered, 0, nullptr, p};
  if (found == nullptr) return cudaSuccess;
  *attributes = {found->second.type, 0, p, is_device(pointer) ? nullptr : p};
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const Lock lock(runtime_mutex());
  *total = device_memory();
  *free = *total - memory().used;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int) {
  *pool = reinterpret_cast<cudaMemPool_t>(&memory());
  return cudaSuccess;
}
cudaError_t cudaDeviceGetMemPool(cudaMemPool_t* pool, int device) {
  return cudaDeviceGetDefaultMemPool(pool, device);
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) { return cudaSuccess; }
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr attribute, void* value) {
  const Lock lock(runtime_mutex());
  const bool high =
      attribute == cudaMemPoolAttrUsedMemHigh || attribute == cudaMemPoolAttrReservedMemHigh;
  *static_cast<uint64_t*>(value) = high ? memory().most_used : memory().used;
  return cudaSuccess;
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) { return cudaSuccess; }

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const Lock lock(runtime_mutex());
  if (const cudaError_t error = refuse_while_capturing(); error != cudaSuccess) return error;
  if (bytes == 0) return cudaSuccess;
  drain_blocking();
  if (!is_valid_copy(to, from, bytes, known_kind(to, from, kind)))
    return report(cudaErrorInvalidValue);
  const DeviceAccess access;
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}

/// From pageable memory the bytes are taken at once, and to it they are there on return, as the
/// real one does it; from and to pinned memory the copy is under way until somebody waits.
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  const Lock lock(runtime_mutex());
  if (bytes == 0) return cudaSuccess;
  kind = known_kind(to, from, kind);
  if (!is_valid_copy(to, from, bytes, kind)) return report(cudaErrorInvalidValue);
  const auto copy = [=] { std::memmove(to, from, bytes); };
  if (is_capturing(stream)) return queue(stream, copy);
  if (kind == cudaMemcpyHostToDevice && is_pageable(from)) {
    const char* const begin = static_cast<const char*>(from);
    const auto staged = std::make_shared<const std::vector<char>>(begin, begin + bytes);
    return queue(stream, [=] { std::memcpy(to, staged->data(), bytes); });
  }
  const cudaError_t error = queue(stream, copy);
  if (error == cudaSuccess && kind == cudaMemcpyDeviceToHost && is_pageable(to)) drain(stream);
  return error;
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream) {
  for (size_t row = 0; row < height; ++row) {
    const cudaError_t error =
        cudaMemcpyAsync(static_cast<char*>(to) + row * to_pitch,
                        static_cast<const char*>(from) + row * from_pitch, width, kind, stream);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  const Lock lock(runtime_mutex());
  if (bytes == 0) return cudaSuccess;
  if (!is_valid_end(to, bytes, true)) return report(cudaErrorInvalidValue);
  return queue(stream, [=] { std::memset(to, value, bytes); });
}
cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  return cudaMemsetAsync(to, value, bytes, nullptr);
}
