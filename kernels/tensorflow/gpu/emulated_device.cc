#include <map>
#include <utility>
#include <vector>

#include "tensorflow/gpu/device.h"
#include "tensorflow/gpu/gpu.h"
#include "tensorflow/gpu/kernel.h"

namespace llmkit::tensorflow_gpu {
namespace {

cudaStream_t common_stream() {
  static const cudaStream_t stream = [] {
    cudaStream_t made = nullptr;
    Call::check(cudaStreamCreate(&made));
    return made;
  }();
  return stream;
}

Memory allocate(size_t bytes) {
  void* data = nullptr;
  Call::check(cudaMallocAsync(&data, bytes, common_stream()));
  return Memory(data, [](void* memory) { cudaFreeAsync(memory, common_stream()); });
}

/// Tensors are TensorFlow's CPU device's: inputs are copied to the emulated device when a kernel
/// asks for them, outputs from it once the call has ended.
class EmulatedDevice final : public Device {
 public:
  explicit EmulatedDevice(tf::OpKernelContext* context) : context_(context) {}
  ~EmulatedDevice() override {
    for (auto& [memory, tensor] : outputs_)
      cudaMemcpyAsync(tensor->data(), memory.get(), tensor->TotalBytes(), cudaMemcpyDeviceToHost,
                      stream());
  }

  const void* input(int index) override {
    Memory& copy = inputs_[index];
    if (copy == nullptr) {
      const tf::Tensor& tensor = context_->input(index);
      copy = memory(tensor.TotalBytes());
      Call::check(cudaMemcpyAsync(copy.get(), tensor.data(), tensor.TotalBytes(),
                                  cudaMemcpyHostToDevice, stream()));
    }
    return copy.get();
  }

  void* output(tf::Tensor& tensor) override {
    outputs_.emplace_back(memory(tensor.TotalBytes()), &tensor);
    return outputs_.back().first.get();
  }

  Memory memory(size_t bytes) override { return allocate(bytes); }
  cudaStream_t stream() override { return common_stream(); }

 private:
  tf::OpKernelContext* context_;
  std::map<int, Memory> inputs_;
  std::vector<std::pair<Memory, tf::Tensor*>> outputs_;
};

}  // namespace

std::unique_ptr<Device> device_of(tf::OpKernelContext* context) {
  return std::make_unique<EmulatedDevice>(context);
}

/// Chosen before the CPU's own kernels, which stay registered.
void set_device(tf::KernelDefBuilder& builder) { builder.Device(tf::DEVICE_CPU).Priority(1); }

bool is_emulated() { return true; }

}  // namespace llmkit::tensorflow_gpu
