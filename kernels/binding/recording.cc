#include "binding/recording.h"

#include "binding/arguments.h"

namespace llmkit::binding {
namespace {

// Node.js may load the addon in several threads.
thread_local std::unique_ptr<Recording> under_way;
thread_local size_t disposals = 0;

/// beginRecording()
void begin_recording(const Napi::CallbackInfo& info) { Recording::begin(info.Env()); }

/// endRecording()
Napi::Value end_recording(const Napi::CallbackInfo& info) {
  std::unique_ptr<Recording> recording = Recording::finish();
  if (recording == nullptr) return info.Env().Null();
  return Napi::External<Recording>::New(info.Env(), recording.release(),
                                        [](Napi::Env, Recording* held) { delete held; });
}

/// replay(recording)
Napi::Value replay(const Napi::CallbackInfo& info) {
  const Arguments args(info, "replay");
  if (!info[0].IsExternal()) args.type_error("expected a recording");
  const Recording& recording = *info[0].As<Napi::External<Recording>>().Data();
  return Napi::Boolean::New(info.Env(), recording.replay());
}

}  // namespace

Recording::Recording() : disposals_(disposals) {}

Recording* Recording::current() { return under_way.get(); }

void Recording::begin(Napi::Env env) {
  if (under_way != nullptr) throw Napi::RangeError::New(env, "beginRecording: one is under way");
  under_way.reset(new Recording());
}

std::unique_ptr<Recording> Recording::finish() {
  std::unique_ptr<Recording> done = std::move(under_way);
  const bool whole = done != nullptr && !done->spoilt_ && done->disposals_ == disposals;
  return whole ? std::move(done) : nullptr;
}

void Recording::forget_handles() { ++disposals; }

bool Recording::replay() const {
  if (disposals_ != disposals) return false;
  for (const std::function<void()>& call : calls_) call();
  return true;
}

void add_recording(Napi::Object exports) {
  add_procedure<begin_recording>(exports, "beginRecording");
  add_function<end_recording>(exports, "endRecording");
  add_function<replay>(exports, "replay");
}

}  // namespace llmkit::binding
