#pragma once

#include <tensorflow/core/framework/op_kernel.h>

#include <optional>
#include <vector>

#include "cuda/base/cuda.h"
#include "tensorflow/op.h"

// Kernels for TensorFlow's GPU device. They need its stream, which the C API gives to pluggable
// devices only, so that they are written against the C++ API: what is built here fits the one
// version of TensorFlow whose headers it was built with.

namespace llmkit::tensorflow_gpu {

namespace tf = ::tensorflow;
using llmkit::tensorflow::expect;
using llmkit::tensorflow::Input;
using llmkit::tensorflow::OpError;
using llmkit::tensorflow::quotient;
using llmkit::tensorflow::Shape;
using llmkit::tensorflow::with_last;

/// The attributes of an op, read once per kernel.
class Attributes {
 public:
  explicit Attributes(tf::OpKernelConstruction* construction) : construction_(construction) {}

  int64_t integer(const char* name) const { return value<int64_t>(name); }
  float real(const char* name) const { return value<float>(name); }
  bool flag(const char* name) const { return value<bool>(name); }

 private:
  template <typename T>
  T value(const char* name) const;

  tf::OpKernelConstruction* construction_;
};

/// One execution of an op. Inputs, outputs and scratch are memory of the GPU, from TensorFlow's
/// allocator, which hands it on in the order of the stream.
class Call {
 public:
  explicit Call(tf::OpKernelContext* context) : context_(context) {}

  Input<const float> floats(int index) const;
  /// int32, of the GPU unless the op keeps this input on the host.
  Input<const int32_t> ints(int index) const;
  const float* floats(int index, size_t size, const char* what) const;
  const int32_t* ints(int index, size_t size, const char* what) const;
  /// The same, or null for one that is left out.
  const float* optional_floats(int index, size_t size, const char* what) const;
  /// A float32 output of any content.
  float* output(int index, const Shape& shape);
  /// Memory for the kernels of this call, aligned to 64 bytes.
  void* scratch(size_t bytes);
  /// Memory that stays while the tensor does.
  tf::Tensor memory(size_t bytes) const;

  /// The stream of TensorFlow's device: what is queued there runs after what made the inputs.
  cudaStream_t stream() const;
  /// Throws OpError when a launch failed.
  static void check(cudaError_t error);

 private:
  tf::OpKernelContext* context_;
  std::vector<tf::Tensor> scratch_;
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
void register_layer_kernels();
void register_training_kernels();

}  // namespace llmkit::tensorflow_gpu
