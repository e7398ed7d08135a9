#include "tensorflow/gpu/kernel.h"

#include <tensorflow/core/framework/kernel_def_builder.h>
#include <xla/stream_executor/stream.h>

#include <string>

#include "tensorflow/gpu/gpu.h"

namespace llmkit::tensorflow_gpu {
namespace {

void expect_ok(const absl::Status& status) {
  if (!status.ok()) throw OpError(std::string(status.message()));
}

template <typename T>
Input<const T> input(tf::OpKernelContext* context, int index, tf::DataType type) {
  const tf::Tensor& tensor = context->input(index);
  if (tensor.dtype() != type)
    throw OpError("input " + std::to_string(index) + " has the wrong type");
  Input<const T> result;
  result.data = static_cast<const T*>(tensor.data());
  result.size = static_cast<size_t>(tensor.NumElements());
  for (int axis = 0; axis < tensor.dims(); ++axis) result.shape.push_back(tensor.dim_size(axis));
  return result;
}

std::vector<std::string>& names() {
  static std::vector<std::string> list;
  return list;
}

}  // namespace

template <typename T>
T Attributes::value(const char* name) const {
  T value = {};
  expect_ok(construction_->GetAttr(name, &value));
  return value;
}
template int64_t Attributes::value<int64_t>(const char*) const;
template float Attributes::value<float>(const char*) const;
template bool Attributes::value<bool>(const char*) const;

Input<const float> Call::floats(int index) const {
  return input<float>(context_, index, tf::DT_FLOAT);
}

Input<const int32_t> Call::ints(int index) const {
  return input<int32_t>(context_, index, tf::DT_INT32);
}

const float* Call::floats(int index, size_t size, const char* what) const {
  const Input<const float> values = floats(index);
  expect(values.size, size, what);
  return values.data;
}

const int32_t* Call::ints(int index, size_t size, const char* what) const {
  const Input<const int32_t> values = ints(index);
  expect(values.size, size, what);
  return values.data;
}

const float* Call::optional_floats(int index, size_t size, const char* what) const {
  const Input<const float> values = floats(index);
  if (values.size > 0) expect(values.size, size, what);
  return values.or_null();
}

float* Call::output(int index, const Shape& shape) {
  tf::Tensor* tensor = nullptr;
  expect_ok(context_->allocate_output(index, tf::TensorShape(shape), &tensor));
  return static_cast<float*>(tensor->data());
}

tf::Tensor Call::memory(size_t bytes) const {
  tf::Tensor tensor;
  const tf::TensorShape shape({static_cast<int64_t>(bytes)});
  expect_ok(context_->allocate_temp(tf::DT_UINT8, shape, &tensor));
  return tensor;
}

void* Call::scratch(size_t bytes) {
  scratch_.push_back(memory(bytes));
  return scratch_.back().data();
}

cudaStream_t Call::stream() const {
  const auto handle = context_->op_device_context()->stream()->platform_specific_handle();
  return static_cast<cudaStream_t>(handle.stream);
}

void Call::check(cudaError_t error) {
  if (error != cudaSuccess) throw OpError(cudaGetErrorString(error));
}

void register_kernel(const char* name, const std::vector<const char*>& host_inputs, Create create) {
  tf::KernelDefBuilder builder(name);
  builder.Device(tf::DEVICE_GPU);
  for (const char* input : host_inputs) builder.HostMemory(input);
  // What it registers stays: the object itself holds nothing.
  const tf::kernel_factory::OpKernelRegistrar registrar(builder.Build(), name, create);
  names().push_back(name);
}

const std::vector<std::string>& registered_kernels() {
  if (names().empty()) {
    register_linear_kernels();
    register_layer_kernels();
    register_training_kernels();
  }
  return names();
}

}  // namespace llmkit::tensorflow_gpu
