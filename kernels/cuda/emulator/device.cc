#include "cuda/emulator/device.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cuda/emulator/launch.h"
#include "cuda/emulator/runtime.h"
#include "cuda/emulator/streams.h"

namespace llmkit::cuda::emulator {

namespace {

constexpr size_t kSharedBytes = 48 << 10;
constexpr int kMostThreads = 1024, kCudaVersion = 13000;

/// A number from the environment.
size_t setting(const char* name, size_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// Only the first can be used.
int devices() { return static_cast<int>(setting("LLMKIT_EMULATED_DEVICES", 1)); }

int processors() { return static_cast<int>(setting("LLMKIT_EMULATED_PROCESSORS", 4)); }

/// The most that a block may have.
size_t most_shared_bytes() { return setting("LLMKIT_EMULATED_SHARED", 99 << 10); }

bool is_valid_shape(const Work& work) {
  const dim3 block = work.block, grid = work.grid;
  return block.x > 0 && block.y > 0 && block.z > 0 && block.z <= 64 &&
         size_t{block.x} * block.y * block.z <= kMostThreads && grid.x > 0 && grid.y > 0 &&
         grid.z > 0 && grid.x <= 0x7fffffffu && grid.y <= 65535 && grid.z <= 65535;
}

}  // namespace

size_t device_memory() { return setting("LLMKIT_EMULATED_MEMORY", size_t{8} << 30); }

cudaError_t queue_launch(const Work& work, cudaStream_t stream) {
  const Lock lock(runtime_mutex());
  if (!is_valid_shape(work)) return report(cudaErrorInvalidConfiguration);
  if (work.shared_bytes > most_shared_bytes()) return report(cudaErrorInvalidValue);
  return queue(stream, [work] { run(work); });
}

}  // namespace llmkit::cuda::emulator

using namespace llmkit::cuda::emulator;

namespace {

struct ErrorText {
  cudaError_t error;
  const char *name, *text;
};

const ErrorText kErrors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
     "invalid configuration argument"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation",
     "dependency created on uncaptured work in another stream"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit",
     "operation would make the legacy stream depend on a capturing blocking stream"},
};

const ErrorText& text_of(cudaError_t error) {
  static const ErrorText unknown = {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"};
  for (const ErrorText& known : kErrors)
    if (known.error == error) return known;
  return unknown;
}

}  // namespace

const char* cudaGetErrorName(cudaError_t error) { return text_of(error).name; }
const char* cudaGetErrorString(cudaError_t error) { return text_of(error).text; }

cudaError_t cudaGetDeviceCount(int* count) {
  *count = devices();
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  return device == 0 ? cudaSuccess : report(cudaErrorInvalidDevice);
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = kCudaVersion;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = kCudaVersion;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device < 0 || device >= devices()) return report(cudaErrorInvalidDevice);
  *properties = {};
  std::strcpy(properties->name, "emulated device");
  properties->totalGlobalMem = device_memory();
  properties->sharedMemPerBlock = kSharedBytes;
  properties->sharedMemPerBlockOptin = most_shared_bytes();
  properties->sharedMemPerMultiprocessor = most_shared_bytes() + 1024;
  properties->regsPerBlock = 65536;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = kMostThreads;
  properties->major = 8;
  properties->multiProcessorCount = processors();
  properties->l2CacheSize = 4 << 20;
  properties->memoryBusWidth = 128;
  properties->memoryPoolsSupported = 1;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties;
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, device); error != cudaSuccess)
    return error;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      return *value = kMostThreads, cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      return *value = kSharedBytes, cudaSuccess;
    case cudaDevAttrWarpSize:
      return *value = 32, cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
      return *value = properties.multiProcessorCount, cudaSuccess;
    case cudaDevAttrL2CacheSize:
      return *value = properties.l2CacheSize, cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      return *value = properties.major, cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      return *value = properties.minor, cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      return *value = static_cast<int>(properties.sharedMemPerMultiprocessor), cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      return *value = most_shared_bytes(), cudaSuccess;
    case cudaDevAttrMemoryPoolsSupported:
      return *value = 1, cudaSuccess;
  }
  return report(cudaErrorInvalidValue);
}

cudaError_t cudaFuncSetAttributeImpl(const void*, cudaFuncAttribute attribute, int value) {
  const bool fits = attribute != cudaFuncAttributeMaxDynamicSharedMemorySize ||
                    (value >= 0 && static_cast<size_t>(value) <= most_shared_bytes());
  return fits ? cudaSuccess : report(cudaErrorInvalidValue);
}
