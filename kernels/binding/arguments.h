#pragma once

#include <napi.h>

#include <cstdint>
#include <initializer_list>
#include <string>

#include "base/elements.h"
#include "base/packed_weight.h"
#include "base/weight_view.h"

namespace llmkit {
class KvCache;
}

namespace llmkit::binding {

/// The elements of an array. data is null for an argument that was null.
template <typename T>
struct Span {
  T* data = nullptr;
  size_t size = 0;
};
using Floats = Span<float>;
using Ints = Span<int32_t>;
using Bytes = Span<uint8_t>;

/// The elements of an array that may be held as bf16, as they are stored.
struct StoredElements {
  ConstElements values;
  size_t size = 0;
};

/// The arguments of one call, converted and checked: TypeError for a wrong type, RangeError for a
/// wrong size. `name` is the function's, for the messages. Where an addon's arrays lie is its own
/// affair: floats(index), ints(index), elements(index) and matrix() are defined in
/// host_arguments.cc for memory of the host, in cuda/binding/arguments.cc for that of a GPU.
class Arguments {
 public:
  Arguments(const Napi::CallbackInfo& info, const char* name) : info_(info), name_(name) {}

  Floats floats(size_t index) const;
  Ints ints(size_t index) const;
  Floats floats(size_t index, size_t size, const char* what) const {
    return sized(floats(index), size, what);
  }
  Ints ints(size_t index, size_t size, const char* what) const {
    return sized(ints(index), size, what);
  }
  /// Activations, which may be held as bf16: to read, and the array for a result to be written to.
  StoredElements elements(size_t index) const;
  ConstElements elements(size_t index, size_t size, const char* what) const {
    const StoredElements stored = elements(index);
    expect(stored.size, size, what);
    return stored.values;
  }
  Elements output_elements(size_t index, size_t size, const char* what) const;
  /// Typed arrays, in memory of the host.
  Floats host_floats(size_t index) const { return array<float>(index, napi_float32_array); }
  Ints host_ints(size_t index) const { return array<int32_t>(index, napi_int32_array); }
  Bytes bytes(size_t index) const { return array<uint8_t>(index, napi_uint8_array); }

  /// null or undefined give a null span.
  Floats optional_floats(size_t index, size_t size, const char* what) const {
    return absent(index) ? Floats{} : floats(index, size, what);
  }

  double number(size_t index) const;
  float real(size_t index) const { return static_cast<float>(number(index)); }
  /// A whole number from 0 to 2^53.
  size_t size(size_t index, const char* what) const;
  /// The same, but not 0: something is divided by it.
  size_t positive(size_t index, const char* what) const;
  bool flag(size_t index) const;
  std::string text(size_t index) const;
  /// The place of a text in a list of names.
  template <size_t kCount>
  size_t choice(size_t index, const char* const (&names)[kCount]) const {
    return choice(index, names, kCount);
  }

  /// A weight's handle, or an array of float32 rows of `cols`.
  WeightView matrix(size_t index, size_t cols) const;

  /// Its packed form, if it has one.
  const PackedWeight* packed(size_t index) const;

  /// The product, which must be at most 2^53: a larger one might wrap round to a size that fits.
  size_t product(std::initializer_list<size_t> factors) const;
  /// size / divisor, which must be whole.
  size_t quotient(size_t size, size_t divisor, const char* what) const;
  void expect(size_t got, size_t want, const char* what) const;
  [[noreturn]] void range_error(const std::string& message) const;
  [[noreturn]] void type_error(const std::string& message) const;
  /// Says that argument `index` is not one of these: "a Float32Array".
  [[noreturn]] void expected(size_t index, const char* what) const;

  bool absent(size_t index) const { return info_[index].IsNull() || info_[index].IsUndefined(); }
  Napi::Value value(size_t index) const { return info_[index]; }
  Napi::Env env() const { return info_.Env(); }

 private:
  size_t choice(size_t index, const char* const* names, size_t count) const;

  template <typename T>
  Span<T> array(size_t index, napi_typedarray_type wanted) const {
    napi_typedarray_type type = napi_int8_array;
    void* data = nullptr;
    size_t length = 0;
    const napi_status status = napi_get_typedarray_info(info_.Env(), info_[index], &type, &length,
                                                        &data, nullptr, nullptr);
    if (status != napi_ok || type != wanted) wrong_array(index, wanted);
    return {static_cast<T*>(data), length};
  }
  template <typename T>
  Span<T> sized(Span<T> span, size_t size, const char* what) const {
    expect(span.size, size, what);
    return span;
  }
  [[noreturn]] void wrong_array(size_t index, napi_typedarray_type wanted) const;

  const Napi::CallbackInfo& info_;
  const char* name_;
};

/// Throws RangeError unless all ids are below the limit.
void check_ids(Napi::Env env, const char* name, const Ints& ids, size_t limit);

/// The view behind a handle made by createWeight; throws RangeError after disposeWeight.
const WeightView& weight_of_handle(const Arguments& args, const Napi::Value& handle);

/// The packed form of a weight that does not compute in float32; null for all others and for a
/// Float32Array.
const PackedWeight* packed_of_handle(const Arguments& args, const Napi::Value& handle);

/// What a handle made by createKvCache holds, until disposeKvCache; throws RangeError after it.
KvCache& cache_of_handle(const Arguments& args, size_t index);

/// Keeps the stored weight of a handle while another thread works with it: disposing of it throws
/// RangeError meanwhile. Made and ended on the JavaScript thread.
class WeightUse {
 public:
  WeightUse(const Arguments& args, const Napi::Value& handle);
  ~WeightUse();
  WeightUse(const WeightUse&) = delete;
  WeightUse& operator=(const WeightUse&) = delete;
  const WeightView& view() const { return view_; }

 private:
  size_t& users_;
  const WeightView& view_;
  Napi::Reference<Napi::Value> handle_;
};

/// Adds a function to the addon's exports.
template <Napi::Value (*kFunction)(const Napi::CallbackInfo&)>
void add_function(Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New<kFunction>(exports.Env(), name));
}
template <void (*kFunction)(const Napi::CallbackInfo&)>
void add_procedure(Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New<kFunction>(exports.Env(), name));
}

// One per file of this folder.
void add_machine(Napi::Object exports);
void add_weights(Napi::Object exports);
void add_packed_weights(Napi::Object exports);
void add_quantization(Napi::Object exports);
void add_hashing(Napi::Object exports);
void add_files(Napi::Object exports);
void add_layers(Napi::Object exports);
void add_attention(Napi::Object exports);
void add_training(Napi::Object exports);
void add_arrays(Napi::Object exports);
void add_recording(Napi::Object exports);

}  // namespace llmkit::binding
