#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <optional>
#include <vector>

#include "base/parallel.h"
#include "binding/quantize_spec.h"
#include "binding/weight_reader.h"
#include "cuda/binding/arguments.h"
#include "cuda/binding/pipeline.h"
#include "cuda/quantize/quantize.h"

// Matrices of the host go through the GPU in chunks, from where the checkpoint is mapped to where
// the quantized one is put together: they need not fit on it.

namespace llmkit::cuda {
namespace {

constexpr size_t kChunkBytes = size_t{8} << 20;

size_t divide_up(size_t a, size_t b) { return (a + b - 1) / b; }
size_t padded(size_t bytes) { return divide_up(bytes, 256) * 256; }

/// All threads copy: pages of a mapped file are read meanwhile.
void copy_on_host(void* to, const void* from, size_t bytes) {
  constexpr size_t kPiece = size_t{1} << 18;
  parallel_for(divide_up(bytes, kPiece), 1, [&](size_t begin, size_t end) {
    const size_t first = begin * kPiece, last = std::min(end * kPiece, bytes);
    std::memcpy(static_cast<char*>(to) + first, static_cast<const char*>(from) + first,
                last - first);
  });
}

/// Arrays side by side in a chunk's memory, each aligned.
class Parts {
 public:
  /// Where the next array of so many bytes lies.
  size_t add(size_t bytes) {
    const size_t at = size_;
    size_ += padded(bytes);
    return at;
  }
  size_t size() const { return size_; }

 private:
  size_t size_ = 0;
};

/// Elements [begin, begin + count) of a flattened matrix.
struct Elements {
  size_t begin, count;
};

/// A matrix cut in chunks of whole units.
struct Chunks {
  size_t size, step;
  Chunks(size_t size, size_t unit, size_t element_bytes)
      : size(size), step(std::max<size_t>(1, kChunkBytes / (unit * element_bytes)) * unit) {
    this->step = std::min(step, divide_up(size, unit) * unit);
  }
  size_t count() const { return divide_up(size, step); }
  Elements at(size_t chunk) const { return {chunk * step, std::min(step, size - chunk * step)}; }
};

size_t element_bytes(WeightFormat format) { return format == WeightFormat::kF32 ? 4 : 2; }
size_t code_bytes(WeightFormat format, size_t count) {
  return format == WeightFormat::kInt8 ? count : divide_up(count, 2);
}

void add_sums(const RunSums* runs, size_t count, SquareSums& sums) {
  for (size_t i = 0; i < count; ++i) {
    sums.values += runs[i].values;
    sums.errors += runs[i].errors;
  }
}

/// Quantizes the chunks of a matrix.
class Quantizing {
 public:
  Quantizing(const WeightView& values, const QuantizeSpec& spec, const QuantizedParts& parts)
      : values_(values),
        spec_(spec),
        parts_(parts),
        run_(quantize_run(spec.group_size)),
        chunks_(values.rows * values.cols, run_, element_bytes(values.format)) {}

  size_t chunks() const { return chunks_.count(); }
  size_t in_bytes() const { return chunks_.step * element_bytes(values_.format); }
  size_t out_bytes() const { return Out(*this, chunks_.step).size; }

  size_t fill(size_t chunk, char* host) const {
    const Elements elements = chunks_.at(chunk);
    const size_t bytes = element_bytes(values_.format);
    copy_on_host(host, values_.codes + elements.begin * bytes, elements.count * bytes);
    return elements.count * bytes;
  }

  size_t launch(size_t chunk, const char* in, char* out, cudaStream_t stream) const {
    const size_t count = chunks_.at(chunk).count;
    const Out at(*this, count);
    QuantizeArgs args = {};
    args.format = values_.format;
    args.values = reinterpret_cast<const uint8_t*>(in);
    args.count = count;
    args.spec = spec_;
    args.parts = {reinterpret_cast<uint8_t*>(out + at.codes),
                  reinterpret_cast<float*>(out + at.scales),
                  spec_.zero_points ? reinterpret_cast<uint8_t*>(out + at.zeros) : nullptr};
    args.sums = reinterpret_cast<RunSums*>(out + at.sums);
    args.not_finite = reinterpret_cast<int32_t*>(out + at.not_finite);
    check(cudaMemsetAsync(args.not_finite, 0, sizeof(int32_t), stream), "quantize");
    check(quantize(args, stream), "quantize");
    return at.size;
  }

  void take(size_t chunk, const char* host) {
    const Elements elements = chunks_.at(chunk);
    const Out at(*this, elements.count);
    const size_t groups = divide_up(elements.count, spec_.group_size);
    const size_t group = elements.begin / spec_.group_size;
    std::memcpy(parts_.codes + code_bytes(spec_.format, elements.begin), host + at.codes,
                code_bytes(spec_.format, elements.count));
    std::memcpy(parts_.scales + group, host + at.scales, groups * sizeof(float));
    if (spec_.zero_points) std::memcpy(parts_.zeros + group, host + at.zeros, groups);
    int32_t not_finite;
    std::memcpy(&not_finite, host + at.not_finite, sizeof not_finite);
    finite_ = finite_ && not_finite == 0;
    add_sums(reinterpret_cast<const RunSums*>(host + at.sums), divide_up(elements.count, run_),
             sums_);
  }

  std::optional<SquareSums> change() const { return finite_ ? std::optional(sums_) : std::nullopt; }

 private:
  /// Where the parts of so many elements lie.
  struct Out {
    size_t codes, scales, zeros, sums, not_finite, size;
    Out(const Quantizing& work, size_t count) {
      const size_t groups = divide_up(count, work.spec_.group_size);
      Parts parts;
      codes = parts.add(code_bytes(work.spec_.format, count));
      scales = parts.add(groups * sizeof(float));
      zeros = parts.add(work.spec_.zero_points ? groups : 0);
      sums = parts.add(divide_up(count, work.run_) * sizeof(RunSums));
      not_finite = parts.add(sizeof(int32_t));
      size = parts.size();
    }
  };

  const WeightView values_;
  const QuantizeSpec spec_;
  const QuantizedParts parts_;
  const size_t run_;
  const Chunks chunks_;
  SquareSums sums_;
  bool finite_ = true;
};

/// quantize(values, quantized, scaleType, method), on a thread of Node's pool.
class QuantizeWorker final : public Napi::AsyncWorker {
 public:
  explicit QuantizeWorker(const Arguments& args)
      : Napi::AsyncWorker(args.env()), deferred_(Napi::Promise::Deferred::New(args.env())) {
    const WeightView from = read(args, 0), to = read(args, 1);
    binding::check_quantized_pair(args, from, to);
    work_.emplace(from, binding::quantize_spec(args, to), binding::parts_to_fill(to));
    pipeline_.emplace(work_->in_bytes(), work_->out_bytes(), "quantize");
  }

  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override {
    try {
      pipeline_->run(work_->chunks(), *work_);
    } catch (const Error& error) {
      code_ = error.code();
      SetError(error.what());
    }
  }

  void OnOK() override {
    const std::optional<SquareSums> change = work_->change();
    if (!change) return deferred_.Resolve(Env().Null());
    Napi::Array pair = Napi::Array::New(Env(), 2);
    pair[0u] = change->errors;
    pair[1u] = change->values;
    deferred_.Resolve(pair);
  }

  void OnError(const Napi::Error& error) override {
    Napi::Object thrown = error.Value();
    thrown.Set("code", Napi::String::New(Env(), code_));
    deferred_.Reject(thrown);
  }

 private:
  WeightView read(const Arguments& args, size_t index) {
    if (!args.value(index).IsObject()) args.expected(index, "an object");
    return binding::read_weight(args, args.value(index).As<Napi::Object>(), arrays_);
  }

  Napi::Promise::Deferred deferred_;
  std::vector<Napi::ObjectReference> arrays_;
  std::optional<Quantizing> work_;
  std::optional<Pipeline> pipeline_;
  const char* code_ = kDeviceCode;
};

Napi::Value quantize_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "quantize");
  auto worker = std::make_unique<QuantizeWorker>(args);
  const Napi::Promise promise = worker->promise();
  worker.release()->Queue();  // it deletes itself
  return promise;
}

}  // namespace

void add_quantization(Napi::Object exports) { add_function<quantize_call>(exports, "quantize"); }

}  // namespace llmkit::cuda
