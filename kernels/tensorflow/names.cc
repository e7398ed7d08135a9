#include "tensorflow/names.h"

#include "binding/arguments.h"
#include "tensorflow/numbers.h"

namespace llmkit::tensorflow {
namespace {

using binding::Arguments;

Numbers<Matrix>& weights() {
  static Numbers<Matrix>* const all = new Numbers<Matrix>;
  return *all;
}

Numbers<KvCache*>& caches() {
  static Numbers<KvCache*>* const all = new Numbers<KvCache*>;
  return *all;
}

Napi::Value number(Napi::Env env, int64_t value) {
  return Napi::Number::New(env, static_cast<double>(value));
}

/// nameWeight(handle): who holds the number keeps the handle alive.
Napi::Value name_weight(const Napi::CallbackInfo& info) {
  const Arguments args(info, "nameWeight");
  const WeightView& view = binding::weight_of_handle(args, info[0]);
  return number(info.Env(), weights().add({view, binding::packed_of_handle(args, info[0])}));
}

void forget_weight(const Napi::CallbackInfo& info) {
  weights().forget(static_cast<int64_t>(Arguments(info, "forgetWeight").size(0, "number")));
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

Matrix named_weight(int64_t number) {
  return weights().at(number, "the weight has been disposed of");
}

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
