#pragma once

#include <cstdio>
#include <cstdlib>
#include <new>
#include <vector>

#include "cuda/base/cuda.h"
#include "cuda/base/id_report.h"
#include "testing/testing.h"

// What the tests of CUDA kernels share: the checks of testing/testing.h, and memory on the device.
// The same test.cc runs on the emulated device and on a real one.

namespace llmkit::cuda::testing {

using llmkit::testing::Buffer;
using llmkit::testing::Checks;
using llmkit::testing::kSizes;
using llmkit::testing::random_bytes;
using llmkit::testing::random_normal;
using llmkit::testing::Sum;
using llmkit::testing::ulps_of;

/// Ends the process when a call of CUDA failed.
inline void expect(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("FAIL %s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

/// The stream that a test launches on. It does not wait for the default stream, nor that for it.
inline cudaStream_t stream() {
  static const cudaStream_t made = [] {
    cudaStream_t s;
    expect(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), "cudaStreamCreate");
    return s;
  }();
  return made;
}

/// Values in the memory of the device.
template <class T>
class DeviceVector {
 public:
  /// For results: every byte is 0xff, which is NaN or -1.
  explicit DeviceVector(size_t n) : size_(n) {
    expect(cudaMalloc(&data_, n * sizeof(T) + 1), "cudaMalloc");
    expect(cudaMemsetAsync(data_, 0xff, n * sizeof(T), stream()), "cudaMemset");
  }
  explicit DeviceVector(const std::vector<T>& values) : DeviceVector(values.size()) {
    expect(
        cudaMemcpyAsync(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice, stream()),
        "cudaMemcpy to the device");
  }
  ~DeviceVector() { cudaFree(data_); }
  DeviceVector(const DeviceVector&) = delete;
  DeviceVector& operator=(const DeviceVector&) = delete;

  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return size_; }

  /// Waits for the stream; fails the test when a kernel failed.
  std::vector<T> values() const {
    std::vector<T> host(size_);
    expect(cudaMemcpyAsync(host.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost, stream()),
           "cudaMemcpy to the host");
    expect(cudaStreamSynchronize(stream()), "cudaStreamSynchronize");
    return host;
  }

 private:
  T* data_ = nullptr;
  size_t size_;
};

template <class T>
DeviceVector<T> upload(const std::vector<T>& values) {
  return DeviceVector<T>(values);
}

/// The same bytes.
template <class T>
bool same_bytes(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

/// Where kernels say that an id is out of range.
class TestReport {
 public:
  TestReport() {
    void* data = nullptr;
    expect(cudaHostAlloc(&data, sizeof(IdReport), cudaHostAllocMapped), "cudaHostAlloc");
    report_ = new (data) IdReport;
  }
  ~TestReport() { cudaFreeHost(report_); }
  TestReport(const TestReport&) = delete;

  IdReport* get() const { return report_; }
  /// Of kernels that are done.
  bool says(int32_t id, size_t limit) const {
    return report_->word == (static_cast<uint64_t>(limit) << 32 | static_cast<uint32_t>(id));
  }

 private:
  IdReport* report_ = nullptr;
};

/// Whether what takes minutes on the emulated device is tested, too.
inline bool tests_long_cases() { return std::getenv("LLMKIT_TEST_LONG") != nullptr; }

/// The body of main(): runs the checks, or says that there is no device.
inline int run_on_device(void (*checks_of)(Checks&)) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("skip: no CUDA device\n");
    return 0;
  }
  Checks checks;
  checks_of(checks);
  cudaDeviceProp properties;
  expect(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  std::printf("%s %s\n", checks.failures() == 0 ? "done" : "failed", properties.name);
  return checks.failures() == 0 ? 0 : 1;
}

}  // namespace llmkit::cuda::testing
