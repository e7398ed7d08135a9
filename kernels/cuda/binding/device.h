#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace llmkit::cuda {

/// A GPU that llmkit can compute on.
struct DeviceInfo {
  std::string name;
  size_t memory_bytes = 0;
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  int driver_cuda = 0, runtime = 0;  // CUDA versions: 13000 is 13.0
};

/// The GPU of this process: the first that CUDA_VISIBLE_DEVICES shows. Opens it at the first call;
/// throws Error kUnusableCode with the cause and what mends it.
const DeviceInfo& device();

/// A GPU that the driver shows, whether llmkit can compute on it or not.
struct ShownDevice {
  std::string name;
  size_t memory_bytes;
  int major, minor;  // compute capability
};

/// All that answer; the first is device().
std::vector<ShownDevice> shown_devices();

/// The oldest driver that runs programs of a CUDA runtime: "580".
std::string least_driver(int runtime);

/// Bytes that the GPU has left for anybody.
size_t free_device_bytes();

/// "13.0"
std::string cuda_version(int version);

}  // namespace llmkit::cuda
