#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "base/mapped_file.h"
#include "base/parallel.h"
#include "binding/arguments.h"
#include "binding/held_weight.h"
#include "binding/recording.h"
#include "cpu/linear/linear.h"
#include "cpu/packed/packed.h"

namespace llmkit::binding {
namespace {

/// An array of its bytes, which keeps it mapped. Throws where Node.js has no arrays of that size.
Napi::Value array_of(Napi::Env env, const std::shared_ptr<MappedFile>& file) {
  // A failed call may have ended the hint, or not: who holds the file tells.
  auto* const hint = new std::shared_ptr<MappedFile>(file);
  const auto end = [](napi_env, void*, void* held) {
    delete static_cast<std::shared_ptr<MappedFile>*>(held);
  };
  napi_value array = nullptr;
  const napi_status status =
      napi_create_external_arraybuffer(env, file->data(), file->size(), end, hint, &array);
  if (status == napi_ok) return Napi::Value(env, array);
  if (file.use_count() > 1) delete hint;
  throw Napi::Error::New(env);
}

/// mapFile(path, offset = 0, size = all behind it)
Napi::Value map_file(const Napi::CallbackInfo& info) {
  const Arguments args(info, "mapFile");
  const std::string path = args.text(0);
  FileRange range;
  if (!info[1].IsUndefined()) range = {args.size(1, "offset"), args.size(2, "size")};
  std::string error;
  const std::shared_ptr<MappedFile> file = MappedFile::open(path, range, error);
  if (file == nullptr) throw Napi::Error::New(info.Env(), "mapFile: " + path + ": " + error);
  if (file->size() == 0) return Napi::ArrayBuffer::New(info.Env(), 0);
  return array_of(info.Env(), file);
}

/// The weight of a WeightData object, as it is stored.
std::unique_ptr<HeldWeight> stored_weight(const Arguments& args) {
  if (!args.value(0).IsObject()) args.type_error("argument 1 must be an object");
  auto held = std::make_unique<HeldWeight>();
  held->view = read_weight(args, args.value(0).As<Napi::Object>(), held->arrays);
  return held;
}

/// What went wrong when `call` packed a weight; empty when nothing did.
std::string problem_of(const std::string& call, const PackedWeight& packed) {
  const size_t size = packed.size_bytes();
  if (size == 0 || packed.data != nullptr) return "";
  return call + ": no memory for " + std::to_string(size) + " bytes of packed weights";
}

/// createWeight(data, compute = 'f32')
Napi::Value create_weight(const Napi::CallbackInfo& info) {
  const Arguments args(info, "createWeight");
  const size_t choice = info[1].IsUndefined() ? 0 : args.choice(1, kComputeNames);
  auto held = stored_weight(args);
  const auto compute = static_cast<Compute>(choice);
  if (compute != Compute::kF32) {
    auto packed = std::make_unique<PackedWeight>(pack_weight(held->view, compute));
    const std::string problem = problem_of("createWeight", *packed);
    if (!problem.empty()) throw Napi::Error::New(info.Env(), problem);
    held->keep_packed(std::move(packed));
  }
  return handle_of(info.Env(), std::move(held));
}

/// A lock that as many threads hold at a time as kernels may use; each may have others help it.
class Gate {
 public:
  static Gate& instance() {
    static Gate* const gate = new Gate;  // outlives whoever leaves last
    return *gate;
  }
  void lock() {
    std::unique_lock<std::mutex> lock(mutex_);
    left_.wait(lock, [&] { return inside_ < thread_count(); });
    ++inside_;
  }
  void unlock() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      --inside_;
    }
    left_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable left_;
  size_t inside_ = 0;
};

/// Packs on a thread of Node's pool.
class PackWorker final : public Napi::AsyncWorker {
 public:
  PackWorker(Napi::Env env, std::unique_ptr<HeldWeight> held, Compute compute)
      : Napi::AsyncWorker(env),
        held_(std::move(held)),
        compute_(compute),
        deferred_(Napi::Promise::Deferred::New(env)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

  void Execute() override {
    {
      const std::lock_guard<Gate> inside(Gate::instance());
      packed_ = std::make_unique<PackedWeight>(pack_weight(held_->view, compute_));
    }
    const std::string problem = problem_of("packWeight", *packed_);
    if (!problem.empty()) SetError(problem);
  }
  void OnOK() override {
    held_->keep_packed(std::move(packed_));
    deferred_.Resolve(handle_of(Env(), std::move(held_)));
  }
  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

 private:
  std::unique_ptr<HeldWeight> held_;
  std::unique_ptr<PackedWeight> packed_;
  Compute compute_;
  Napi::Promise::Deferred deferred_;
};

/// packWeight(data, compute)
Napi::Value pack_weight_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "packWeight");
  const auto compute = static_cast<Compute>(args.choice(1, kComputeNames));
  if (compute == Compute::kF32) args.range_error("weights that compute in f32 are not packed");
  auto worker = std::make_unique<PackWorker>(info.Env(), stored_weight(args), compute);
  const Napi::Promise promise = worker->promise();
  worker.release()->Queue();  // it deletes itself
  return promise;
}

/// releasePages(bytes)
void release_pages(const Napi::CallbackInfo& info) {
  const Bytes bytes = Arguments(info, "releasePages").bytes(0);
  release_file_pages(bytes.data, bytes.size);
}

void dispose_weight(const Napi::CallbackInfo& info) {
  const Arguments args(info, "disposeWeight");
  HeldWeight& held = held_weight(args, info[0]);
  if (held.users > 0) args.range_error("the weight is in use");
  if (held.packed != nullptr) release_file_pages(held.packed->data, held.packed->size_bytes());
  held = HeldWeight{};
  Recording::forget_handles();
}

/// Whether its rows can be read.
bool has_rows(const HeldWeight& held) {
  return held.packed == nullptr || keeps_values(*held.packed, held.view.format);
}

/// hasRows(weight)
Napi::Value has_rows_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "hasRows");
  weight_of_handle(args, info[0]);  // throws when it has been disposed of
  return Napi::Boolean::New(info.Env(), has_rows(held_weight(args, info[0])));
}

/// dequantizeRows(weight, ids, y)
void dequantize_rows_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "dequantizeRows");
  const WeightView& weight = weight_of_handle(args, info[0]);
  const PackedWeight* const packed = args.packed(0);
  const Ints ids = args.ints(1);
  if (!has_rows(held_weight(args, info[0])))
    args.range_error("the weight was rounded when it was packed");
  float* const y = args.floats(2, ids.size * weight.cols, "y").data;
  if (Recording::current() != nullptr) Recording::current()->keep(info[0]);
  run([env = info.Env(), &weight, packed, ids, y] {
    check_ids(env, "dequantizeRows", ids, weight.rows);
    if (packed == nullptr) return dequantize_rows(weight, ids.size, ids.data, y);
    packed_rows(*packed, weight.format, ids.size, ids.data, y);
  });
}

}  // namespace

Napi::Value handle_of(Napi::Env env, std::unique_ptr<HeldWeight> held) {
  return Napi::External<HeldWeight>::New(env, held.release(),
                                         [](Napi::Env, HeldWeight* weight) { delete weight; });
}

HeldWeight& held_weight(const Arguments& args, const Napi::Value& handle) {
  if (!handle.IsExternal()) args.type_error("expected a weight or a Float32Array");
  return *handle.As<Napi::External<HeldWeight>>().Data();
}

const WeightView& weight_of_handle(const Arguments& args, const Napi::Value& handle) {
  const WeightView& view = held_weight(args, handle).view;
  if (view.codes == nullptr && view.cols == 0) args.range_error("the weight has been disposed of");
  return view;
}

const PackedWeight* packed_of_handle(const Arguments& args, const Napi::Value& handle) {
  return handle.IsExternal() ? held_weight(args, handle).packed.get() : nullptr;
}

WeightUse::WeightUse(const Arguments& args, const Napi::Value& handle)
    : users_(held_weight(args, handle).users),
      view_(weight_of_handle(args, handle)),
      handle_(Napi::Persistent(handle)) {
  if (packed_of_handle(args, handle) != nullptr) args.range_error("the weight is packed");
  ++users_;
}

WeightUse::~WeightUse() { --users_; }

void add_weights(Napi::Object exports) {
  add_function<map_file>(exports, "mapFile");
  add_call<create_weight>(exports, "createWeight");
  add_function<pack_weight_call>(exports, "packWeight");
  add_procedure<release_pages>(exports, "releasePages");
  add_procedure<dispose_weight>(exports, "disposeWeight");
  add_function<has_rows_call>(exports, "hasRows");
  add_call<dequantize_rows_call>(exports, "dequantizeRows");
}

}  // namespace llmkit::binding
