#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "cuda/binding/device_array.h"
#include "cuda/binding/pinned.h"
#include "cuda/binding/wrong_ids.h"
#include "cuda/elementwise/elementwise.h"

namespace llmkit::cuda {
namespace {

/// An array for JavaScript, which takes over the block.
Napi::Value new_array(Napi::Env env, Block block, size_t length, ElementType type) {
  napi_value object = nullptr, value = nullptr;
  auto array = std::make_unique<DeviceArray>();
  array->block = std::move(block);
  array->length = length;
  array->type = type;
  const auto end = [](napi_env, void* data, void*) { delete static_cast<DeviceArray*>(data); };
  const bool made = napi_create_object(env, &object) == napi_ok &&
                    napi_create_double(env, static_cast<double>(length), &value) == napi_ok &&
                    napi_set_named_property(env, object, "length", value) == napi_ok &&
                    napi_wrap(env, object, array.get(), end, nullptr, nullptr) == napi_ok;
  if (!made) throw Napi::Error::New(env);
  array.release();
  return Napi::Value(env, object);
}

/// allocate(length, type)
Napi::Value allocate(const Napi::CallbackInfo& info) {
  const Arguments args(info, "allocate");
  const auto type = static_cast<ElementType>(args.choice(1, kElementNames));
  const size_t length = args.size(0, "length");
  const size_t bytes = args.product({length, type == ElementType::kBf16 ? size_t{2} : 4});
  return new_array(info.Env(), device_memory(bytes, "allocate"), length, type);
}

/// release(array)
void release(const Napi::CallbackInfo& info) {
  DeviceArray& array = array_anywhere(Arguments(info, "release"), 0);
  array.paged.reset();
  array.block = Block();
  array.rounded = Block();
  array.released = true;
}

/// keepArrayOnHost(array)
void keep_array_on_host(const Napi::CallbackInfo& info) {
  const Arguments args(info, "keepArrayOnHost");
  DeviceArray& array = device_array(args, 0);
  if (array.paged != nullptr) args.range_error("the array is on the host already");
  if (array.length == 0) args.range_error("the array is empty");
  array.paged = std::make_unique<PagedArray>(array_pager(), array.block, array.bytes());
}

/// changeArray(array)
void change_array(const Napi::CallbackInfo& info) {
  DeviceArray& array = array_anywhere(Arguments(info, "changeArray"), 0);
  if (array.paged != nullptr) array_pager().will_change(*array.paged);
}

/// hostArrays()
Napi::Value host_arrays(const Napi::CallbackInfo& info) {
  Napi::Object object = Napi::Object::New(info.Env());
  object["hostBytes"] = static_cast<double>(array_pager().host_bytes());
  object["deviceBytes"] = static_cast<double>(array_pager().device_bytes());
  object["aheadBytes"] = static_cast<double>(array_pager().ahead_bytes());
  return object;
}

/// The elements of a Float32Array or an Int32Array.
struct HostArray {
  void* data = nullptr;
  size_t length = 0;
  bool is_float = true;
};

HostArray host_array(const Arguments& args, size_t index) {
  HostArray array;
  napi_typedarray_type type = napi_int8_array;
  const napi_status status = napi_get_typedarray_info(args.env(), args.value(index), &type,
                                                      &array.length, &array.data, nullptr, nullptr);
  array.is_float = type == napi_float32_array;
  if (status != napi_ok || (!array.is_float && type != napi_int32_array))
    args.expected(index, "a Float32Array or an Int32Array");
  return array;
}

/// upload(values)
Napi::Value upload(const Napi::CallbackInfo& info) {
  const Arguments args(info, "upload");
  const HostArray from = host_array(args, 0);
  return new_array(info.Env(), on_device(from.data, from.length * 4, "upload"), from.length,
                   from.is_float ? ElementType::kF32 : ElementType::kI32);
}

/// The words of an array on the device, and a typed array of the host for them.
struct Result {
  Napi::Value array;
  void* data;
  const void* from;
  size_t bytes;

  explicit Result(const Arguments& args) {
    const DeviceArray& of = device_array(args, 0);
    from = words_to_read(args, of);
    bytes = of.length * 4;
    Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(args.env(), bytes);
    data = buffer.Data();
    if (of.is_float())
      array = Napi::Float32Array::New(args.env(), of.length, buffer, 0);
    else
      array = Napi::Int32Array::New(args.env(), of.length, buffer, 0);
  }
};

/// readSync(array)
Napi::Value read_sync(const Napi::CallbackInfo& info) {
  const Result result(Arguments(info, "readSync"));
  copy_to_host(result.data, result.from, result.bytes);
  check_ids();
  return result.array;
}

/// Waits, on a thread of Node's pool, for a copy that is queued.
class Reader final : public Napi::AsyncWorker {
 public:
  Reader(Napi::Env env, const Result& result)
      : Napi::AsyncWorker(env),
        deferred_(Napi::Promise::Deferred::New(env)),
        bytes_(result.bytes),
        place_(bytes_),
        data_(result.data),
        result_(Napi::Persistent(result.array.As<Napi::Object>())) {
    check(cudaMemcpyAsync(place_.data(), result.from, bytes_, cudaMemcpyDeviceToHost, stream()),
          "read");
    check(cudaEventRecord(place_.event(), stream()), "read");
  }

  Napi::Promise promise() const { return deferred_.Promise(); }

  void Execute() override {
    error_ = cudaEventSynchronize(place_.event());
    if (error_ == cudaSuccess && bytes_ > 0) std::memcpy(data_, place_.data(), bytes_);
  }
  void OnOK() override {
    try {
      check(error_, "read");
      check_ids();
      deferred_.Resolve(result_.Value());
    } catch (const Error& error) {
      deferred_.Reject(as_thrown(Env(), error).Value());
    }
  }

 private:
  Napi::Promise::Deferred deferred_;
  size_t bytes_;
  PinnedPlace place_;
  void* data_;
  Napi::ObjectReference result_;
  cudaError_t error_ = cudaSuccess;
};

/// read(array)
Napi::Value read(const Napi::CallbackInfo& info) {
  const Result result(Arguments(info, "read"));
  auto reader = std::make_unique<Reader>(info.Env(), result);
  const Napi::Promise promise = reader->promise();
  reader.release()->Queue();  // it deletes itself
  return promise;
}

/// copy(x, y)
void copy(const Napi::CallbackInfo& info) {
  const Arguments args(info, "copy");
  const DeviceArray& x = device_array(args, 0);
  DeviceArray& y = device_array(args, 1);
  if (x.type != y.type) args.expected(1, "of the type of argument 1");
  args.expect(y.length, x.length, "y");
  y.written = x.written;
  if (x.length > 0)
    check(cudaMemcpyAsync(y.block.data(), x.block.data(), x.bytes(), cudaMemcpyDeviceToDevice,
                          stream()),
          "copy");
}

/// convert(x, y)
void convert_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "convert");
  const StoredElements x = args.elements(0);
  check(convert(x.size, x.values, args.output_elements(1, x.size, "y"), stream()), "convert");
}

}  // namespace

void add_device_arrays(Napi::Object exports) {
  add_function<allocate>(exports, "allocate");
  add_procedure<release>(exports, "release");
  add_procedure<keep_array_on_host>(exports, "keepArrayOnHost");
  add_procedure<change_array>(exports, "changeArray");
  add_function<host_arrays>(exports, "hostArrays");
  add_function<upload>(exports, "upload");
  add_function<read_sync>(exports, "readSync");
  add_function<read>(exports, "read");
  add_procedure<copy>(exports, "copy");
  add_procedure<convert_call>(exports, "convert");
}

}  // namespace llmkit::cuda
