#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "base/read_file.h"
#include "base/write_direct.h"
#include "binding/arguments.h"
#include "binding/weight_reader.h"

namespace llmkit::binding {
namespace {

Napi::Object object_of(const Arguments& args, size_t index) {
  if (!args.value(index).IsObject()) args.expected(index, "an object");
  return args.value(index).As<Napi::Object>();
}

int descriptor_of(const Arguments& args, Napi::Object object, const char* key) {
  return static_cast<int>(whole(args, object, key));
}

/// writeDirect(file, position, source): the source is bytes, or a range of an open file
class DirectWorker final : public Napi::AsyncWorker {
 public:
  explicit DirectWorker(const Arguments& args)
      : Napi::AsyncWorker(args.env()), deferred_(Napi::Promise::Deferred::New(args.env())) {
    const Napi::Object file = object_of(args, 0), source = object_of(args, 2);
    target_ = {descriptor_of(args, file, "descriptor"), descriptor_of(args, file, "direct")};
    position_ = args.size(1, "position");
    if (source.IsTypedArray()) {
      const Bytes bytes = args.bytes(2);
      kept_ = Napi::Persistent(source);
      bytes_ = bytes.data;
      size_ = bytes.size;
    } else {
      from_ = descriptor_of(args, source, "descriptor");
      offset_ = whole(args, source, "offset");
      size_ = whole(args, source, "sizeBytes");
    }
  }

  Napi::Promise promise() const { return deferred_.Promise(); }

  void Execute() override {
    const std::string problem = write_direct(
        target_, position_, size_, [this](size_t at, size_t size, void* out) -> std::string {
          if (bytes_ == nullptr) return read_file(from_, offset_ + at, size, out);
          std::memcpy(out, bytes_ + at, size);
          return "";
        });
    if (!problem.empty()) SetError(problem);
  }
  void OnOK() override { deferred_.Resolve(Env().Undefined()); }
  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

 private:
  Napi::Promise::Deferred deferred_;
  DirectTarget target_ = {};
  uint64_t position_ = 0, offset_ = 0;
  size_t size_ = 0;
  const uint8_t* bytes_ = nullptr;
  int from_ = 0;
  Napi::ObjectReference kept_;
};

Napi::Value write_direct_call(const Napi::CallbackInfo& info) {
  auto worker = std::make_unique<DirectWorker>(Arguments(info, "writeDirect"));
  const Napi::Promise promise = worker->promise();
  worker.release()->Queue();  // it deletes itself
  return promise;
}

}  // namespace

void add_files(Napi::Object exports) { add_function<write_direct_call>(exports, "writeDirect"); }

}  // namespace llmkit::binding
