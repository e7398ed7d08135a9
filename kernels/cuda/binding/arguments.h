#pragma once

#include <napi.h>

#include <vector>

#include "base/weight_view.h"
#include "binding/arguments.h"
#include "cuda/binding/error.h"
#include "cuda/binding/memory.h"

// What the files of this folder use. `Arguments` is that of the CPU's addon, but floats(i), ints(i)
// and optional_floats(i) are spans of DEVICE memory, and matrix(i, cols) is a view with DEVICE
// pointers, of a weight's stored bytes or of an array. host_floats(i), host_ints(i) and bytes(i)
// are typed arrays of the host.
//
// An array may hold its values as bf16. What knows that takes elements(i) and output_elements(i);
// floats(i) of such an array is a float32 copy for the call, to read.
//
// Ids and ranges that lie on the device cannot be checked here without waiting for it. JavaScript
// checks those that it still has; kernels must all the same read and write nothing outside,
// whatever an id is (NaN is what such a row gives), and report it: wrong_ids.h.

namespace llmkit::cuda {

using binding::Arguments;
using binding::Bytes;
using binding::Floats;
using binding::Ints;
using binding::StoredElements;

struct PackedWeight;  // cuda/packed/packed.h

/// The packed form of a weight that computes in bf16; null for all others and for an array.
const PackedWeight* packed_weight(const Arguments& args, size_t index);

/// Memory for as long as the function of the addon that is called lasts.
class CallMemory {
 public:
  CallMemory() = default;
  ~CallMemory() { blocks().clear(); }
  CallMemory(const CallMemory&) = delete;
  CallMemory& operator=(const CallMemory&) = delete;

  static void* take(size_t bytes);

 private:
  static std::vector<Block>& blocks();
};

/// Error as JavaScript's.
inline Napi::Error as_thrown(Napi::Env env, const Error& error) {
  Napi::Error thrown = Napi::Error::New(env, error.what());
  thrown.Set("code", Napi::String::New(env, error.code()));
  return thrown;
}

/// Runs a function of the addon, with Error as JavaScript's.
template <class Call>
auto guarded(Napi::Env env, const Call& call) {
  const CallMemory memory;
  try {
    return call();
  } catch (const Error& error) {
    throw as_thrown(env, error);
  }
}

template <Napi::Value (*kFunction)(const Napi::CallbackInfo&)>
Napi::Value guarded_function(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return kFunction(info); });
}
template <void (*kFunction)(const Napi::CallbackInfo&)>
void guarded_procedure(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] { kFunction(info); });
}

/// Adds a function to the addon's exports.
template <Napi::Value (*kFunction)(const Napi::CallbackInfo&)>
void add_function(Napi::Object exports, const char* name) {
  binding::add_function<guarded_function<kFunction>>(exports, name);
}
template <void (*kFunction)(const Napi::CallbackInfo&)>
void add_procedure(Napi::Object exports, const char* name) {
  binding::add_procedure<guarded_procedure<kFunction>>(exports, name);
}

// One per file of this folder; addon.cc calls them.
void add_device(Napi::Object exports);
void add_device_arrays(Napi::Object exports);
void add_weights(Napi::Object exports);
void add_linears(Napi::Object exports);
void add_arrays(Napi::Object exports);
void add_layers(Napi::Object exports);
void add_attention(Napi::Object exports);
void add_training(Napi::Object exports);
void add_matrices(Napi::Object exports);
void add_lora_linears(Napi::Object exports);
void add_loss(Napi::Object exports);
void add_sampling(Napi::Object exports);
void add_quantization(Napi::Object exports);
void add_steps(Napi::Object exports);

}  // namespace llmkit::cuda
