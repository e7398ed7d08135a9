#pragma once

#include <tensorflow/core/framework/op_kernel.h>

#include <memory>

#include "cuda/base/cuda.h"

namespace llmkit::tensorflow_gpu {

namespace tf = ::tensorflow;

/// Memory of the GPU for as long as somebody holds it. What is queued on the stream by then still
/// runs before the next owner's work.
using Memory = std::shared_ptr<void>;

/// What a device lends to one execution of an op: TensorFlow's GPU (gpu_device.cc), or for tests
/// the emulated one in the place of TensorFlow's CPU (emulated_device.cc).
class Device {
 public:
  virtual ~Device() = default;

  /// Where the GPU has the elements of an input.
  virtual const void* input(int index) = 0;
  /// Where it writes those of an output.
  virtual void* output(tf::Tensor& tensor) = 0;
  /// Aligned to 64 bytes.
  virtual Memory memory(size_t bytes) = 0;
  virtual cudaStream_t stream() = 0;
};

std::unique_ptr<Device> device_of(tf::OpKernelContext* context);

/// Names the device that a kernel is for.
void set_device(tf::KernelDefBuilder& builder);

}  // namespace llmkit::tensorflow_gpu
