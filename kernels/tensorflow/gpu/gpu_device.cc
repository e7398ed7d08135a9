#include <xla/stream_executor/stream.h>

#include "tensorflow/gpu/device.h"
#include "tensorflow/gpu/gpu.h"
#include "tensorflow/gpu/kernel.h"

namespace llmkit::tensorflow_gpu {
namespace {

/// Memory comes from TensorFlow's allocator, which hands it on in the order of its stream.
class GpuDevice final : public Device {
 public:
  explicit GpuDevice(tf::OpKernelContext* context) : context_(context) {}

  const void* input(int index) override { return context_->input(index).data(); }
  void* output(tf::Tensor& tensor) override { return tensor.data(); }

  Memory memory(size_t bytes) override {
    const auto tensor = std::make_shared<tf::Tensor>();
    const tf::TensorShape shape({static_cast<int64_t>(bytes)});
    expect_ok(context_->allocate_temp(tf::DT_UINT8, shape, tensor.get()));
    return Memory(tensor, tensor->data());
  }

  cudaStream_t stream() override {
    const auto handle = context_->op_device_context()->stream()->platform_specific_handle();
    return static_cast<cudaStream_t>(handle.stream);
  }

 private:
  tf::OpKernelContext* context_;
};

}  // namespace

std::unique_ptr<Device> device_of(tf::OpKernelContext* context) {
  return std::make_unique<GpuDevice>(context);
}

void set_device(tf::KernelDefBuilder& builder) { builder.Device(tf::DEVICE_GPU); }

bool is_emulated() { return false; }

}  // namespace llmkit::tensorflow_gpu
