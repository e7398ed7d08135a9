#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "cuda/binding/device_array.h"
#include "cuda/binding/pinned.h"
#include "cuda/binding/wrong_ids.h"

namespace llmkit::cuda {
namespace {

constexpr const char* kTypeNames[] = {"float32", "int32"};

Napi::Value new_array(Napi::Env env, Block block, size_t length, bool is_float) {
  return is_float ? new_floats(env, std::move(block), length)
                  : new_ints(env, std::move(block), length);
}

/// allocate(length, type)
Napi::Value allocate(const Napi::CallbackInfo& info) {
  const Arguments args(info, "allocate");
  const size_t length = args.size(0, "length"), bytes = args.product({length, 4});
  return new_array(info.Env(), device_memory(bytes, "allocate"), length,
                   args.choice(1, kTypeNames) == 0);
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
                   from.is_float);
}

/// A typed array of the host for the elements of one of the device.
struct Result {
  Napi::Value array;
  void* data = nullptr;
};

Result result_for(Napi::Env env, const DeviceArray& from) {
  Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, from.bytes());
  if (from.is_float) return {Napi::Float32Array::New(env, from.length, buffer, 0), buffer.Data()};
  return {Napi::Int32Array::New(env, from.length, buffer, 0), buffer.Data()};
}

/// readSync(array)
Napi::Value read_sync(const Napi::CallbackInfo& info) {
  const DeviceArray& from = device_array(Arguments(info, "readSync"), 0);
  const Result result = result_for(info.Env(), from);
  copy_to_host(result.data, from.block.data(), from.bytes());
  check_ids();
  return result.array;
}

/// Waits, on a thread of Node's pool, for a copy that is queued.
class Reader final : public Napi::AsyncWorker {
 public:
  Reader(Napi::Env env, const DeviceArray& from)
      : Napi::AsyncWorker(env),
        deferred_(Napi::Promise::Deferred::New(env)),
        bytes_(from.bytes()),
        place_(bytes_) {
    const Result result = result_for(env, from);
    data_ = result.data;
    result_ = Napi::Persistent(result.array.As<Napi::Object>());
    check(
        cudaMemcpyAsync(place_.data(), from.block.data(), bytes_, cudaMemcpyDeviceToHost, stream()),
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
  void* data_ = nullptr;
  Napi::ObjectReference result_;
  cudaError_t error_ = cudaSuccess;
};

/// read(array)
Napi::Value read(const Napi::CallbackInfo& info) {
  const DeviceArray& from = device_array(Arguments(info, "read"), 0);
  auto reader = std::make_unique<Reader>(info.Env(), from);
  const Napi::Promise promise = reader->promise();
  reader.release()->Queue();  // it deletes itself
  return promise;
}

/// copy(x, y)
void copy(const Napi::CallbackInfo& info) {
  const Arguments args(info, "copy");
  const DeviceArray &x = device_array(args, 0), &y = device_array(args, 1);
  if (x.is_float != y.is_float) args.expected(1, "of the type of argument 1");
  args.expect(y.length, x.length, "y");
  if (x.length > 0)
    check(cudaMemcpyAsync(y.block.data(), x.block.data(), x.bytes(), cudaMemcpyDeviceToDevice,
                          stream()),
          "copy");
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
}

}  // namespace llmkit::cuda
