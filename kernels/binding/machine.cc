#include <cstdlib>
#include <string>

#include "base/cpu_features.h"
#include "base/mapped_file.h"
#include "base/parallel.h"
#include "binding/arguments.h"
#include "cpu/packed/packed.h"

namespace llmkit::binding {
namespace {

Napi::Value isa_in_use(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), isa_name());
}

/// computeIsas() -> {f32, bf16, int8}
Napi::Value compute_isas(const Napi::CallbackInfo& info) {
  Napi::Object names = Napi::Object::New(info.Env());
  names.Set("f32", runs_here(isa::kAvx512) ? "avx512" : isa_name());
  names.Set("bf16", packed_isa(Compute::kBf16));
  names.Set("int8", packed_isa(Compute::kInt8));
  return names;
}

Napi::Value threads(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(thread_count()));
}

void set_threads(const Napi::CallbackInfo& info) {
  set_thread_count(Arguments(info, "setThreads").positive(0, "threads"));
}

/// alignedBuffer(size): memory of any content that begins with a line of the cache
Napi::Value aligned_buffer(const Napi::CallbackInfo& info) {
  constexpr size_t kLine = 64;
  const size_t size = Arguments(info, "alignedBuffer").positive(0, "size");
  void* const memory = std::aligned_alloc(kLine, (size + kLine - 1) / kLine * kLine);
  if (memory == nullptr)
    throw Napi::Error::New(info.Env(),
                           "alignedBuffer: no memory for " + std::to_string(size) + " bytes");
  const auto end = [](napi_env, void* data, void*) { std::free(data); };
  napi_value buffer = nullptr;
  const napi_status status =
      napi_create_external_arraybuffer(info.Env(), memory, size, end, nullptr, &buffer);
  if (status != napi_ok) {
    std::free(memory);
    throw Napi::Error::New(info.Env());
  }
  return Napi::Value(info.Env(), buffer);
}

}  // namespace

void add_machine(Napi::Object exports) {
  add_function<isa_in_use>(exports, "isa");
  add_function<compute_isas>(exports, "computeIsas");
  add_function<threads>(exports, "threads");
  add_procedure<set_threads>(exports, "setThreads");
  add_function<aligned_buffer>(exports, "alignedBuffer");
}

}  // namespace llmkit::binding
