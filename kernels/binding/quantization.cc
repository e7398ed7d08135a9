#include <memory>
#include <optional>

#include "binding/arguments.h"
#include "cpu/quantize/quantize.h"

namespace llmkit::binding {
namespace {

/// Work on a matrix and its quantized form, on a thread of Node's pool.
class MatrixWorker : public Napi::AsyncWorker {
 public:
  explicit MatrixWorker(const Arguments& args)
      : Napi::AsyncWorker(args.env()),
        values_(args, args.value(0)),
        quantized_(args, args.value(1)),
        deferred_(Napi::Promise::Deferred::New(args.env())) {
    const WeightView &from = values_.view(), &to = quantized_.view();
    if (from.format >= WeightFormat::kInt8) args.range_error("argument 1 is quantized already");
    if (to.format < WeightFormat::kInt8) args.range_error("argument 2 is not quantized");
    if (from.rows != to.rows || from.cols != to.cols) args.range_error("the shapes differ");
  }

  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  const WeightView& values() const { return values_.view(); }
  const WeightView& quantized() const { return quantized_.view(); }
  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }
  void resolve(const Napi::Value& result) { deferred_.Resolve(result); }

 private:
  WeightUse values_, quantized_;
  Napi::Promise::Deferred deferred_;
};

Napi::Value pair_of(Napi::Env env, const SquareSums& sums) {
  Napi::Array pair = Napi::Array::New(env, 2);
  pair[0u] = sums.errors;
  pair[1u] = sums.values;
  return pair;
}

constexpr const char* kScaleNames[] = {"f32", "bf16", "f16"};
constexpr ScaleType kScaleTypes[] = {ScaleType::kF32, ScaleType::kBf16, ScaleType::kF16};

/// quantize(values, quantized, scaleType)
class QuantizeWorker final : public MatrixWorker {
 public:
  explicit QuantizeWorker(const Arguments& args) : MatrixWorker(args) {
    const WeightView& to = quantized();
    spec_ = {to.format, to.group_size, kScaleTypes[args.choice(2, kScaleNames)],
             to.zeros != nullptr};
    const bool integers = to.format == WeightFormat::kInt8 || to.format == WeightFormat::kInt4;
    if (to.scales == nullptr) args.range_error("the scales must be a Float32Array");
    if (integers && to.cols % to.group_size != 0)
      args.range_error("the group size must divide a row");
    if (!integers && spec_.zero_points) args.range_error("nf4 and fp4 have no zero points");
    // The arrays are the caller's to be filled; a view of a weight is only for reading otherwise.
    parts_ = {const_cast<uint8_t*>(to.codes), const_cast<float*>(to.scales),
              const_cast<uint8_t*>(to.zeros)};
  }

  void Execute() override { change_ = quantize(values(), spec_, parts_); }
  void OnOK() override { resolve(change_ ? pair_of(Env(), *change_) : Env().Null()); }

 private:
  QuantizeSpec spec_;
  QuantizedParts parts_;
  std::optional<SquareSums> change_;
};

/// quantizationError(values, quantized)
class ErrorWorker final : public MatrixWorker {
 public:
  using MatrixWorker::MatrixWorker;

  void Execute() override { sums_ = quantization_error(values(), quantized()); }
  void OnOK() override { resolve(pair_of(Env(), sums_)); }

 private:
  SquareSums sums_;
};

template <typename Worker>
Napi::Value start(const Arguments& args) {
  auto worker = std::make_unique<Worker>(args);
  const Napi::Promise promise = worker->promise();
  worker.release()->Queue();  // it deletes itself
  return promise;
}

Napi::Value quantize_call(const Napi::CallbackInfo& info) {
  return start<QuantizeWorker>(Arguments(info, "quantize"));
}

Napi::Value quantization_error_call(const Napi::CallbackInfo& info) {
  return start<ErrorWorker>(Arguments(info, "quantizationError"));
}

}  // namespace

void add_quantization(Napi::Object exports) {
  add_function<quantize_call>(exports, "quantize");
  add_function<quantization_error_call>(exports, "quantizationError");
}

}  // namespace llmkit::binding
