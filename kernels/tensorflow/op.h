#pragma once

#include <tensorflow/c/kernels.h>
#include <tensorflow/c/ops.h>
#include <tensorflow/c/tf_tensor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

// A thin C++ face of TensorFlow's C API for ops and kernels: it outlives a TensorFlow version,
// where the C++ API is bound to one.

namespace llmkit::tensorflow {

/// Why a kernel cannot run; becomes the status of the op.
struct OpError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

using Shape = std::vector<int64_t>;

/// A float32 or int32 input. A tensor without elements stands for one that is left out.
template <typename T>
struct Input {
  T* data = nullptr;
  size_t size = 0;
  Shape shape;

  /// The elements, null where the input is left out.
  T* or_null() const { return size == 0 ? nullptr : data; }
};

/// The attributes of an op, read once per kernel.
class Attributes {
 public:
  explicit Attributes(TF_OpKernelConstruction* construction) : construction_(construction) {}

  int64_t integer(const char* name) const;
  float real(const char* name) const;
  bool flag(const char* name) const;
  std::vector<float> reals(const char* name) const;
  std::vector<int64_t> integers(const char* name) const;
  /// A double, whose halves are a list of two int32 (TensorFlow's float attributes are float32).
  double bits(const char* name) const;

 private:
  /// The length of a list.
  int32_t length(const char* name) const;

  TF_OpKernelConstruction* construction_;
};

/// One execution of an op: its inputs and outputs.
class Call {
 public:
  explicit Call(TF_OpKernelContext* context) : context_(context) {}

  Input<const float> floats(int index) { return input<const float>(index, TF_FLOAT); }
  Input<const int32_t> ints(int index) { return input<const int32_t>(index, TF_INT32); }
  /// An input that has to have a number of elements.
  const float* floats(int index, size_t size, const char* what);
  const int32_t* ints(int index, size_t size, const char* what);
  /// The same, or null for one that is left out.
  const float* optional_floats(int index, size_t size, const char* what);
  /// A float32 output of any content.
  float* output(int index, const Shape& shape);

 private:
  struct Deleter {
    void operator()(TF_Tensor* tensor) const { TF_DeleteTensor(tensor); }
  };
  template <typename T>
  Input<T> input(int index, TF_DataType type) {
    TF_Tensor* const tensor = tensor_of(index, type);
    Input<T> result;
    result.data = static_cast<T*>(TF_TensorData(tensor));
    result.size = static_cast<size_t>(TF_TensorElementCount(tensor));
    for (int i = 0; i < TF_NumDims(tensor); ++i) result.shape.push_back(TF_Dim(tensor, i));
    return result;
  }
  TF_Tensor* tensor_of(int index, TF_DataType type);

  TF_OpKernelContext* context_;
  std::vector<std::unique_ptr<TF_Tensor, Deleter>> tensors_;
};

/// Throws OpError unless sizes are equal.
void expect(size_t got, size_t want, const char* what);
/// size / divisor, which must be whole.
size_t quotient(size_t size, size_t divisor, const char* what);
/// The shape with another last axis.
Shape with_last(Shape shape, size_t last);

/// An op in the words of TensorFlow's op definitions: inputs and outputs "x: float", attributes
/// "eps: float".
struct OpDefinition {
  const char* name;
  std::vector<const char*> inputs, outputs, attributes;
};

/// What TensorFlow calls of a kernel for the CPU.
struct KernelFunctions {
  void* (*create)(TF_OpKernelConstruction*);
  void (*compute)(void*, TF_OpKernelContext*);
  void (*destroy)(void*);
};
void register_op(const OpDefinition& definition, const KernelFunctions& functions);
void fail(TF_OpKernelConstruction* construction, const char* message);
void fail(TF_OpKernelContext* context, const char* message);

/// Registers an op whose kernel is Op: made from Attributes, called with a Call.
template <typename Op>
void register_op(const OpDefinition& definition) {
  KernelFunctions functions;
  functions.create = [](TF_OpKernelConstruction* construction) -> void* {
    try {
      return new Op(Attributes(construction));
    } catch (const std::exception& error) {
      fail(construction, error.what());
      return nullptr;
    }
  };
  functions.compute = [](void* op, TF_OpKernelContext* context) {
    try {
      Call call(context);
      (*static_cast<const Op*>(op))(call);
    } catch (const std::exception& error) {
      fail(context, error.what());
    }
  };
  functions.destroy = [](void* op) { delete static_cast<Op*>(op); };
  register_op(definition, functions);
}

// One per file of this folder.
void register_linear_ops();
void register_layer_ops();
void register_attention_ops();
void register_training_ops();

/// The names of the ops registered so far.
const std::vector<std::string>& registered_ops();

}  // namespace llmkit::tensorflow
