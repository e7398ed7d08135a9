#include "tensorflow/gpu/kernel.h"

#include <tensorflow/core/framework/kernel_def_builder.h>

#include <cstring>
#include <string>

#include "tensorflow/gpu/gpu.h"

namespace llmkit::tensorflow_gpu {
namespace {

std::vector<std::string>& names() {
  static std::vector<std::string> list;
  return list;
}

}  // namespace

void expect_ok(const absl::Status& status) {
  if (!status.ok()) throw OpError(std::string(status.message()));
}

template <typename T>
T Attributes::value(const char* name) const {
  T value = {};
  expect_ok(construction_->GetAttr(name, &value));
  return value;
}
template int64_t Attributes::value<int64_t>(const char*) const;
template float Attributes::value<float>(const char*) const;
template bool Attributes::value<bool>(const char*) const;
template std::vector<float> Attributes::value<std::vector<float>>(const char*) const;
template std::vector<int64_t> Attributes::value<std::vector<int64_t>>(const char*) const;

double Attributes::bits(const char* name) const {
  const auto halves = value<std::vector<int32_t>>(name);
  double value = 0;
  expect(halves.size(), sizeof value / sizeof halves[0], name);
  std::memcpy(&value, halves.data(), sizeof value);
  return value;
}

const tf::Tensor& Call::tensor_of(int index, tf::DataType type) const {
  const tf::Tensor& tensor = context_->input(index);
  if (tensor.dtype() == type) return tensor;
  throw OpError("input " + std::to_string(index) + " has the wrong type");
}

const float* Call::floats(int index, size_t size, const char* what) {
  const Input<const float> values = floats(index);
  expect(values.size, size, what);
  return values.data;
}

const int32_t* Call::ints(int index, size_t size, const char* what) {
  const Input<const int32_t> values = ints(index);
  expect(values.size, size, what);
  return values.data;
}

const float* Call::optional_floats(int index, size_t size, const char* what) {
  const Input<const float> values = floats(index);
  if (values.size > 0) expect(values.size, size, what);
  return values.or_null();
}

const int32_t* Call::host_ints(int index, size_t size, const char* what) const {
  const tf::Tensor& tensor = tensor_of(index, tf::DT_INT32);
  expect(static_cast<size_t>(tensor.NumElements()), size, what);
  return static_cast<const int32_t*>(tensor.data());
}

float* Call::output(int index, const Shape& shape) {
  tf::Tensor* tensor = nullptr;
  expect_ok(context_->allocate_output(index, tf::TensorShape(shape), &tensor));
  return static_cast<float*>(device_->output(*tensor));
}

void* Call::scratch(size_t bytes) {
  scratch_.push_back(memory(bytes));
  return scratch_.back().get();
}

void Call::upload(void* to, const void* from, size_t bytes) {
  // Pageable memory is staged before this returns.
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream()));
}

const float* Call::uploaded(const std::vector<float>& values) {
  if (values.empty()) return nullptr;
  const size_t bytes = values.size() * sizeof(float);
  void* const copy = scratch(bytes);
  upload(copy, values.data(), bytes);
  return static_cast<const float*>(copy);
}

void Call::check(cudaError_t error) {
  if (error != cudaSuccess) throw OpError(cudaGetErrorString(error));
}

void register_kernel(const char* name, const std::vector<const char*>& host_inputs, Create create) {
  tf::KernelDefBuilder builder(name);
  set_device(builder);
  for (const char* input : host_inputs) builder.HostMemory(input);
  // What it registers stays: the object itself holds nothing.
  const tf::kernel_factory::OpKernelRegistrar registrar(builder.Build(), name, create);
  names().push_back(name);
}

const std::vector<std::string>& registered_kernels() {
  if (names().empty()) {
    register_linear_kernels();
    register_lora_kernels();
    register_layer_kernels();
    register_attention_kernels();
    register_rounded_kernels();
    register_training_kernels();
  }
  return names();
}

}  // namespace llmkit::tensorflow_gpu
