#include "tensorflow/names.h"

#include "binding/arguments.h"
#include "binding/attention_arguments.h"
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

Listener*& listener() {
  static Listener* heard_by = nullptr;
  return heard_by;
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
  if (listener() != nullptr) listener()->weight_forgotten(number);
}

/// nameCache(handle): the same.
Napi::Value name_cache(const Napi::CallbackInfo& info) {
  return number(info.Env(), caches().add(&binding::cache_of_handle({info, "nameCache"}, 0)));
}

int64_t cache_number(const Arguments& args) { return static_cast<int64_t>(args.size(0, "number")); }

void forget_cache(const Napi::CallbackInfo& info) {
  const int64_t number = cache_number({info, "forgetCache"});
  caches().forget(number);
  if (listener() != nullptr) listener()->cache_forgotten(number);
}

KvCache& cache_at(const Arguments& args, int64_t number) {
  try {
    return named_cache(number);
  } catch (const OpError& error) {
    args.range_error(error.what());
  }
}

Napi::Value bytes_of(Napi::Env env, const KvCache& cache, int64_t number) {
  size_t bytes = cache.bytes();
  if (listener() != nullptr) bytes += listener()->cache_bytes(number);
  return Napi::Number::New(env, static_cast<double>(bytes));
}

/// selectCache(number, indices)
Napi::Value select_cache(const Napi::CallbackInfo& info) {
  const Arguments args(info, "selectCache");
  const int64_t number = cache_number(args);
  KvCache& cache = cache_at(args, number);
  const binding::Ints indices = binding::row_indices(args, cache.rows());
  cache.select(indices.size, indices.data);
  if (listener() != nullptr) listener()->rows_selected(number, indices.size, indices.data);
  return bytes_of(info.Env(), cache, number);
}

/// cacheBytes(number)
Napi::Value cache_bytes(const Napi::CallbackInfo& info) {
  const Arguments args(info, "cacheBytes");
  const int64_t number = cache_number(args);
  return bytes_of(info.Env(), cache_at(args, number), number);
}

}  // namespace

Matrix named_weight(int64_t number) { return weights().at(number, kDisposed).matrix; }

bool is_named_bf16(int64_t number) { return weights().at(number, kDisposed).bf16; }

void set_listener(Listener* heard_by) { listener() = heard_by; }

KvCache& named_cache(int64_t number) {
  return *caches().at(number, "the cache has been disposed of");
}

void add_names(Napi::Object exports) {
  binding::add_function<name_weight>(exports, "nameWeight");
  binding::add_procedure<forget_weight>(exports, "forgetWeight");
  binding::add_function<name_cache>(exports, "nameCache");
  binding::add_procedure<forget_cache>(exports, "forgetCache");
  binding::add_function<select_cache>(exports, "selectCache");
  binding::add_function<cache_bytes>(exports, "cacheBytes");
}

}  // namespace llmkit::tensorflow
