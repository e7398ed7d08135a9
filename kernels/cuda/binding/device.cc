#include "cuda/binding/device.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "cuda/binding/error.h"
#include "cuda/binding/memory.h"

namespace llmkit::cuda {
namespace {

constexpr int kLeastMajor = 8;

[[noreturn]] void unusable(const std::string& why) { throw Error(kUnusableCode, why); }

[[noreturn]] void no_devices(cudaError_t error, int driver, int runtime) {
  cudaGetLastError();
  if (error == cudaErrorInsufficientDriver && driver == 0)
    unusable("there is no NVIDIA driver; install one of version " + least_driver(runtime) +
             " or newer (nvidia-smi shows it)");
  if (error == cudaErrorInsufficientDriver)
    unusable("the NVIDIA driver is too old: it knows CUDA " + cuda_version(driver) +
             ", this build needs CUDA " + cuda_version(runtime) + "; install driver " +
             least_driver(runtime) + " or newer");
  const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (error == cudaSuccess || error == cudaErrorNoDevice)
    unusable(visible == nullptr ? "the NVIDIA driver finds no GPU"
                                : "CUDA_VISIBLE_DEVICES='" + std::string(visible) +
                                      "' shows no GPU; correct or unset it");
  unusable(std::string("the NVIDIA driver does not start: ") + cudaGetErrorString(error) + " (" +
           cudaGetErrorName(error) + ")");
}

/// What the first use of a GPU may meet: somebody else has all of it.
void opened(cudaError_t error, const DeviceInfo& info) {
  if (error == cudaSuccess) return;
  cudaGetLastError();
  if (error == cudaErrorMemoryAllocation)
    unusable(info.name + " has no memory left to start with; end what else runs on it");
  if (error == cudaErrorDevicesUnavailable)
    unusable(info.name + " is in use by another process that wants it for itself");
  unusable(info.name + " does not start: " + cudaGetErrorString(error) + " (" +
           cudaGetErrorName(error) + ")");
}

DeviceInfo open_device() {
  DeviceInfo info;
  int count = 0;
  cudaDriverGetVersion(&info.driver_cuda);
  cudaRuntimeGetVersion(&info.runtime);
  const cudaError_t counted = cudaGetDeviceCount(&count);
  if (counted != cudaSuccess || count == 0) no_devices(counted, info.driver_cuda, info.runtime);
  cudaDeviceProp properties;
  opened(cudaGetDeviceProperties(&properties, 0), info);
  info.name = properties.name;
  info.memory_bytes = properties.totalGlobalMem;
  info.major = properties.major;
  info.minor = properties.minor;
  info.multiprocessors = properties.multiProcessorCount;
  if (info.major < kLeastMajor)
    unusable(info.name + " has compute capability " + std::to_string(info.major) + "." +
             std::to_string(info.minor) + "; the kernels need 8.0 (Ampere) or newer");
  opened(cudaSetDevice(0), info);
  size_t free = 0, all = 0;
  opened(cudaMemGetInfo(&free, &all), info);
  return info;
}

}  // namespace

const DeviceInfo& device() {
  static const DeviceInfo info =
      open_device();  // not made when it throws: the next call tries again
  return info;
}

std::vector<ShownDevice> shown_devices() {
  int count = 0;
  check(cudaGetDeviceCount(&count), "deviceInfo");
  std::vector<ShownDevice> shown;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) {
      cudaGetLastError();  // another GPU's trouble is not the first one's
      continue;
    }
    shown.push_back(
        {properties.name, properties.totalGlobalMem, properties.major, properties.minor});
  }
  return shown;
}

std::string least_driver(int runtime) { return runtime >= 13000 ? "580" : "525"; }

size_t free_device_bytes() {
  size_t free = 0, all = 0;
  return cudaMemGetInfo(&free, &all) == cudaSuccess ? free : 0;
}

std::string cuda_version(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

void check(cudaError_t error, const char* op) {
  static const bool sync = [] {
    const char* const value = std::getenv("LLMKIT_CUDA_SYNC");
    return value != nullptr && std::strcmp(value, "1") == 0;
  }();
  if (sync && error == cudaSuccess) error = cudaStreamSynchronize(stream());
  if (error == cudaSuccess) return;
  cudaGetLastError();
  throw Error(kDeviceCode, std::string(op) + ": " + device().name + ": " +
                               cudaGetErrorString(error) + " (" + cudaGetErrorName(error) + ")");
}

}  // namespace llmkit::cuda
