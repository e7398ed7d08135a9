#pragma once

#include <napi.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace llmkit::binding {

/// Calls of the addon that can be made again on the same arrays: a step of decoding then costs one
/// call from JavaScript, not one for each of its ops. Holds the arrays and handles of the calls.
class Recording {
 public:
  /// The one that takes calls; null where none does.
  static Recording* current();

  /// Takes calls until `finish`; throws RangeError where another one does.
  static void begin(Napi::Env env);
  /// What was taken. Null where a call cannot be made again, or something was disposed of.
  static std::unique_ptr<Recording> finish();

  /// Notes that a weight or a cache has been disposed of: calls with it can no longer be made.
  static void forget_handles();

  void add(std::function<void()> call) { calls_.push_back(std::move(call)); }
  /// A call was made that is not among them.
  void spoil() { spoilt_ = true; }
  void keep(const Napi::Value& value) { kept_.push_back(Napi::Persistent(value)); }
  size_t size() const { return calls_.size(); }

  /// Makes the calls in order. Returns false, without any, when something was disposed of.
  bool replay() const;

 private:
  Recording();

  std::vector<std::function<void()>> calls_;
  std::vector<Napi::Reference<Napi::Value>> kept_;
  bool spoilt_ = false;
  size_t disposals_;  // when it began
};

/// Makes a call now, and again whenever the recording under way is replayed. What it reads besides
/// the arrays and handles of the arguments must be its own.
template <class Call>
void run(Call call) {
  call();
  Recording* const recording = Recording::current();
  if (recording != nullptr) recording->add(std::move(call));
}

/// A function of the addon that spoils a recording unless it calls `run`.
template <auto kFunction>
auto watched(const Napi::CallbackInfo& info) {
  struct Watch {
    Recording* const recording = Recording::current();
    const size_t before = recording == nullptr ? 0 : recording->size();
    ~Watch() {
      if (recording != nullptr && recording->size() == before) recording->spoil();
    }
  } const watch;
  return kFunction(info);
}

/// Adds a function that computes to the addon's exports.
template <auto kFunction>
void add_call(Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New<watched<kFunction>>(exports.Env(), name));
}

}  // namespace llmkit::binding
