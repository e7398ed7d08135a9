#include <memory>
#include <optional>

#include "binding/arguments.h"
#include "binding/quantize_spec.h"
#include "binding/weight_reader.h"
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
    check_quantized_pair(args, values_.view(), quantized_.view());
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

/// The numbers of a file's range, if there are some; its descriptor is open until the work has
/// ended.
std::optional<MatrixFile> matrix_file(const Arguments& args, size_t index) {
  if (!args.value(index).IsObject()) return std::nullopt;
  const Napi::Object range = args.value(index).As<Napi::Object>();
  return MatrixFile{static_cast<int>(whole(args, range, "descriptor")),
                    whole(args, range, "offset")};
}

/// quantize(values, quantized, scaleType, method, file?)
class QuantizeWorker final : public MatrixWorker {
 public:
  explicit QuantizeWorker(const Arguments& args)
      : MatrixWorker(args),
        spec_(quantize_spec(args, quantized())),
        parts_(parts_to_fill(quantized())),
        file_(matrix_file(args, 4)) {}

  void Execute() override {
    change_ = quantize(values(), spec_, parts_, file_ ? &*file_ : nullptr);
  }
  void OnOK() override { resolve(change_ ? pair_of(Env(), *change_) : Env().Null()); }

 private:
  QuantizeSpec spec_;
  QuantizedParts parts_;
  std::optional<MatrixFile> file_;
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
