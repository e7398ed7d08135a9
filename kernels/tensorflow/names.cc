#include "tensorflow/names.h"

#include "binding/arguments.h"
#include "tensorflow/numbers.h"

namespace llmkit::tensorflow {
namespace {

using binding::Arguments;

struct NamedWeight {
  Matrix matrix;
  bool bf16;
};

constexpr const char* kDisposed = "the weight has been disposed of";

Numbers<NamedWeight>& weights() {
  static Numbers<NamedWeight>* const all = new Numbers<NamedWeight>;
  return *all;
}

Numbers<KvCache*>& caches() {
  static Numbers<KvCache*>* const all = new Numbers<KvCache*>;
  return *all;
}

Napi::Value number(Napi::Env env, int64_t value) {
  return Napi::Number::New(env, static_cast<double>(value));
}

/// What else has to forget a weight.
void (*&forgotten())(int64_t) {
  static void (*callback)(int64_t) = nullptr;
  return callback;
}

/// nameWeight(handle, bf16): who holds the number keeps the handle alive.
Napi::Value name_weight(const Napi::CallbackInfo& info) {
  const Arguments args(info, "nameWeight");
  const WeightView& view = binding::weight_of_handle(args, info[0]);
  return number(info.Env(),
                weights().add({{view, binding::packed_of_handle(args, info[0])}, args.flag(1)}));
}

void forget_weight(const Napi::CallbackInfo& info) {
  const auto number = static_cast<int64_t>(Arguments(info, "forgetWeight").size(0, "number"));
  weights().forget(number);
  if (forgotten() != nullptr) forgotten()(number);
}

/// nameCache(handle): the same.
Napi::Value name_cache(const Napi::CallbackInfo& info) {
  return number(info.Env(), caches().add(&binding::cache_of_handle({info, "nameCache"}, 0)));
}

void forget_cache(const Napi::CallbackInfo& info) {
  caches().forget(static_cast<int64_t>(Arguments(info, "forgetCache").size(0, "number")));
}

/// cacheBytes(handle)
Napi::Value cache_bytes(const Napi::CallbackInfo& info) {
  const KvCache& cache = binding::cache_of_handle({info, "cacheBytes"}, 0);
  return Napi::Number::New(info.Env(), static_cast<double>(cache.bytes()));
}

}  // namespace

Matrix named_weight(int64_t number) { return weights().at(number, kDisposed).matrix; }

bool is_named_bf16(int64_t number) { return weights().at(number, kDisposed).bf16; }

void when_forgotten(void (*callback)(int64_t number)) { forgotten() = callback; }

KvCache& named_cache(int64_t number) {
  return *caches().at(number, "the cache has been disposed of");
}

void add_names(Napi::Object exports) {
  binding::add_function<name_weight>(exports, "nameWeight");
  binding::add_procedure<forget_weight>(exports, "forgetWeight");
  binding::add_function<name_cache>(exports, "nameCache");
  binding::add_procedure<forget_cache>(exports, "forgetCache");
  binding::add_function<cache_bytes>(exports, "cacheBytes");
}

}  // namespace llmkit::tensorflow
