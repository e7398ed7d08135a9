#pragma once

#include <tensorflow/core/framework/op_kernel.h>

#include <memory>
#include <optional>
#include <vector>

#include "tensorflow/arguments.h"
#include "tensorflow/gpu/device.h"

// Kernels for TensorFlow's GPU device. They need its stream, which the C API gives to pluggable
// devices only, so that they are written against the C++ API: what is built here fits the one
// version of TensorFlow whose headers it was built with.

namespace llmkit::tensorflow_gpu {

using llmkit::tensorflow::activation_of;
using llmkit::tensorflow::add_angles;
using llmkit::tensorflow::expect;
using llmkit::tensorflow::Input;
using llmkit::tensorflow::lora_arguments;
using llmkit::tensorflow::lora_grad_arguments;
using llmkit::tensorflow::NormOp;
using llmkit::tensorflow::OpError;
using llmkit::tensorflow::quotient;
using llmkit::tensorflow::rope_arguments;
using llmkit::tensorflow::Shape;
using llmkit::tensorflow::with_last;

/// Throws OpError with what TensorFlow says.
void expect_ok(const absl::Status& status);

/// The attributes of an op, read once per kernel.
class Attributes {
 public:
  explicit Attributes(tf::OpKernelConstruction* construction) : construction_(construction) {}

  int64_t integer(const char* name) const { return value<int64_t>(name); }
  float real(const char* name) const { return value<float>(name); }
  bool flag(const char* name) const { return value<bool>(name); }
  std::vector<float> reals(const char* name) const { return value<std::vector<float>>(name); }
  std::vector<int64_t> integers(const char* name) const {
    return value<std::vector<int64_t>>(name);
  }
  /// A double, whose halves are a list of two int32.
  double bits(const char* name) const;

 private:
  template <typename T>
  T value(const char* name) const;

  tf::OpKernelConstruction* construction_;
};

/// One execution of an op. Inputs, outputs and scratch are memory of the GPU.
class Call {
 public:
  explicit Call(tf::OpKernelContext* context) : context_(context), device_(device_of(context)) {}

  Input<const float> floats(int index) { return input<const float>(index, tf::DT_FLOAT); }
  Input<const int32_t> ints(int index) { return input<const int32_t>(index, tf::DT_INT32); }
  const float* floats(int index, size_t size, const char* what);
  const int32_t* ints(int index, size_t size, const char* what);
  /// The same, or null for one that is left out.
  const float* optional_floats(int index, size_t size, const char* what);
  /// An input that the op keeps on the host.
  const int32_t* host_ints(int index, size_t size, const char* what) const;
  /// A float32 output of any content.
  float* output(int index, const Shape& shape);
  /// Memory for the kernels of this call.
  void* scratch(size_t bytes);
  /// Memory that stays.
  Memory memory(size_t bytes) { return device_->memory(bytes); }
  /// Queues a copy of host memory, which may change as soon as it returns.
  void upload(void* to, const void* from, size_t bytes);
  /// A copy of it for the kernels of this call; null of none.
  const float* uploaded(const std::vector<float>& values);

  /// The stream of TensorFlow's device: what is queued there runs after what made the inputs.
  cudaStream_t stream() { return device_->stream(); }
  /// Throws OpError when a launch failed.
  static void check(cudaError_t error);

 private:
  const tf::Tensor& tensor_of(int index, tf::DataType type) const;
  template <typename T>
  Input<T> input(int index, tf::DataType type) {
    const tf::Tensor& tensor = tensor_of(index, type);
    Input<T> result;
    result.data = static_cast<T*>(device_->input(index));
    result.size = static_cast<size_t>(tensor.NumElements());
    for (int axis = 0; axis < tensor.dims(); ++axis) result.shape.push_back(tensor.dim_size(axis));
    return result;
  }

  tf::OpKernelContext* context_;
  std::unique_ptr<Device> device_;
  std::vector<Memory> scratch_;
};

/// Op made from Attributes and called with a Call, as TensorFlow knows kernels.
template <typename Op>
class Kernel : public tf::OpKernel {
 public:
  explicit Kernel(tf::OpKernelConstruction* construction) : OpKernel(construction) {
    try {
      op_.emplace(Attributes(construction));
    } catch (const std::exception& error) {
      construction->CtxFailure(absl::InvalidArgumentError(error.what()));
    }
  }

  void Compute(tf::OpKernelContext* context) override {
    try {
      Call call(context);
      (*op_)(call);
    } catch (const std::exception& error) {
      context->CtxFailure(absl::InvalidArgumentError(error.what()));
    }
  }

 private:
  std::optional<Op> op_;
};

using Create = tf::OpKernel* (*)(tf::OpKernelConstruction*);
void register_kernel(const char* name, const std::vector<const char*>& host_inputs, Create create);

/// Registers Op as the GPU's kernel of an op that op.h has defined.
template <typename Op>
void register_kernel(const char* name, const std::vector<const char*>& host_inputs = {}) {
  register_kernel(name, host_inputs, [](tf::OpKernelConstruction* construction) -> tf::OpKernel* {
    return new Kernel<Op>(construction);
  });
}

// One per file of this folder.
void register_linear_kernels();
void register_lora_kernels();
void register_layer_kernels();
void register_attention_kernels();
void register_rounded_kernels();
void register_training_kernels();

}  // namespace llmkit::tensorflow_gpu
