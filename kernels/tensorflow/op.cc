#include "tensorflow/op.h"

#include <cstring>
#include <numeric>

namespace llmkit::tensorflow {
namespace {

/// A TF_Status that throws OpError once it is not OK.
class Status {
 public:
  Status() : status_(TF_NewStatus()) {}
  ~Status() { TF_DeleteStatus(status_); }
  Status(const Status&) = delete;
  Status& operator=(const Status&) = delete;

  TF_Status* get() const { return status_; }
  void check() const {
    if (TF_GetCode(status_) != TF_OK) throw OpError(TF_Message(status_));
  }

 private:
  TF_Status* status_;
};

std::vector<std::string>& names() {
  static std::vector<std::string> list;
  return list;
}

}  // namespace

int64_t Attributes::integer(const char* name) const {
  Status status;
  int64_t value = 0;
  TF_OpKernelConstruction_GetAttrInt64(construction_, name, &value, status.get());
  status.check();
  return value;
}

float Attributes::real(const char* name) const {
  Status status;
  float value = 0;
  TF_OpKernelConstruction_GetAttrFloat(construction_, name, &value, status.get());
  status.check();
  return value;
}

bool Attributes::flag(const char* name) const {
  Status status;
  TF_Bool value = 0;
  TF_OpKernelConstruction_GetAttrBool(construction_, name, &value, status.get());
  status.check();
  return value != 0;
}

int32_t Attributes::length(const char* name) const {
  Status status;
  int32_t size = 0, total = 0;
  TF_OpKernelConstruction_GetAttrSize(construction_, name, &size, &total, status.get());
  status.check();
  return size;
}

std::vector<float> Attributes::reals(const char* name) const {
  Status status;
  const int32_t size = length(name);
  std::vector<float> values(static_cast<size_t>(size));
  TF_OpKernelConstruction_GetAttrFloatList(construction_, name, values.data(), size, status.get());
  status.check();
  return values;
}

std::vector<int64_t> Attributes::integers(const char* name) const {
  Status status;
  const int32_t size = length(name);
  std::vector<int64_t> values(static_cast<size_t>(size));
  TF_OpKernelConstruction_GetAttrInt64List(construction_, name, values.data(), size, status.get());
  status.check();
  return values;
}

double Attributes::bits(const char* name) const {
  Status status;
  int32_t halves[2] = {};
  TF_OpKernelConstruction_GetAttrInt32List(construction_, name, halves, 2, status.get());
  status.check();
  double value = 0;
  std::memcpy(&value, halves, sizeof value);
  return value;
}

TF_Tensor* Call::tensor_of(int index, TF_DataType type) {
  Status status;
  TF_Tensor* tensor = nullptr;
  TF_GetInput(context_, index, &tensor, status.get());
  status.check();
  tensors_.emplace_back(tensor);
  if (TF_TensorType(tensor) != type)
    throw OpError("input " + std::to_string(index) + " has the wrong type");
  return tensor;
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

float* Call::output(int index, const Shape& shape) {
  Status status;
  const int64_t count =
      std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<int64_t>());
  TF_Tensor* const tensor =
      TF_AllocateOutput(context_, index, TF_FLOAT, shape.data(), static_cast<int>(shape.size()),
                        static_cast<size_t>(count) * sizeof(float), status.get());
  status.check();
  tensors_.emplace_back(tensor);
  return static_cast<float*>(TF_TensorData(tensor));
}

void expect(size_t got, size_t want, const char* what) {
  if (got == want) return;
  throw OpError(std::string(what) + " must have " + std::to_string(want) + " elements, got " +
                std::to_string(got));
}

size_t quotient(size_t size, size_t divisor, const char* what) {
  if (divisor == 0 || size % divisor != 0)
    throw OpError(std::string(what) + " has " + std::to_string(size) + " elements, not rows of " +
                  std::to_string(divisor));
  return size / divisor;
}

Shape with_last(Shape shape, size_t last) {
  if (shape.empty()) throw OpError("x must have an axis");
  shape.back() = static_cast<int64_t>(last);
  return shape;
}

void register_op(const OpDefinition& definition, const KernelFunctions& functions) {
  const Status status;
  TF_OpDefinitionBuilder* const builder = TF_NewOpDefinitionBuilder(definition.name);
  for (const char* spec : definition.inputs) TF_OpDefinitionBuilderAddInput(builder, spec);
  for (const char* spec : definition.outputs) TF_OpDefinitionBuilderAddOutput(builder, spec);
  for (const char* spec : definition.attributes) TF_OpDefinitionBuilderAddAttr(builder, spec);
  TF_RegisterOpDefinition(builder, status.get());
  status.check();
  TF_RegisterKernelBuilder(definition.name,
                           TF_NewKernelBuilder(definition.name, "CPU", functions.create,
                                               functions.compute, functions.destroy),
                           status.get());
  status.check();
  names().push_back(definition.name);
}

void fail(TF_OpKernelConstruction* construction, const char* message) {
  const Status status;
  TF_SetStatus(status.get(), TF_INVALID_ARGUMENT, message);
  TF_OpKernelConstruction_Failure(construction, status.get());
}

void fail(TF_OpKernelContext* context, const char* message) {
  const Status status;
  TF_SetStatus(status.get(), TF_INVALID_ARGUMENT, message);
  TF_OpKernelContext_Failure(context, status.get());
}

const std::vector<std::string>& registered_ops() { return names(); }

}  // namespace llmkit::tensorflow
