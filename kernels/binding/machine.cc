#include "base/cpu_features.h"
#include "base/mapped_file.h"
#include "base/parallel.h"
#include "binding/arguments.h"

namespace llmkit::binding {
namespace {

Napi::Value isa(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), isa_name());
}

Napi::Value threads(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(thread_count()));
}

void set_threads(const Napi::CallbackInfo& info) {
  set_thread_count(Arguments(info, "setThreads").positive(0, "threads"));
}

}  // namespace

void add_machine(Napi::Object exports) {
  add_function<isa>(exports, "isa");
  add_function<threads>(exports, "threads");
  add_procedure<set_threads>(exports, "setThreads");
}

}  // namespace llmkit::binding
