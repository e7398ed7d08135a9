#include "cpu/attention/attention.h"

#include <limits>
#include <memory>
#include <string>

#include "binding/attention_arguments.h"
#include "binding/recording.h"
#include "cpu/attention/kv_cache.h"

namespace llmkit::binding {
namespace {

/// Every visible range must lie within the keys: nothing else bounds what is read.
void check_range(Napi::Env env, const AttentionArgs& p, size_t position, size_t keys) {
  const int32_t first = p.first[position], last = p.last[position];
  if (last >= first && (first < 0 || static_cast<size_t>(last) >= keys))
    throw Napi::RangeError::New(env, "attention: keys " + std::to_string(first) + ".." +
                                         std::to_string(last) + " are not among " +
                                         std::to_string(keys));
}

/// attention(q, k, v, first, last, alibiSlopes, y, logSumExp, shape, scale, softcap, rounded,
/// training)
void attention_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "attention");
  AttentionArgs p = attention_arguments(args, 8);
  p.rounded = args.flag(11) && args.flag(12);
  for (size_t i = 0; i < p.B * p.T; ++i) check_range(info.Env(), p, i, p.S);
  attention(p, args.output_elements(6, p.B * p.T * p.H * p.E, "y"),
            args.optional_floats(7, p.B * p.T * p.H, "logSumExp").data);
}

/// attentionGrad(q, k, v, first, last, alibiSlopes, y, logSumExp, dy, dq, dk, dv, shape, scale,
/// softcap, rounded, training)
void attention_grad_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "attentionGrad");
  AttentionArgs p = attention_arguments(args, 12);
  p.rounded = args.flag(15) && args.flag(16);
  for (size_t i = 0; i < p.B * p.T; ++i) check_range(info.Env(), p, i, p.S);
  attention_grad(p, attention_grad_arguments(args, p));
}

/// What createKvCache returns a handle of; null once disposed of.
using HeldCache = std::unique_ptr<KvCache>;

/// createKvCache(rows, heads, headSize, dtype)
Napi::Value create_kv_cache(const Napi::CallbackInfo& info) {
  const CacheShape shape = cache_shape(Arguments(info, "createKvCache"));
  const PageLayout layout = {shape.head_size, static_cast<KvType>(shape.type)};
  auto held =
      std::make_unique<HeldCache>(std::make_unique<KvCache>(shape.rows, shape.heads, layout));
  return Napi::External<HeldCache>::New(info.Env(), held.release(),
                                        [](Napi::Env, HeldCache* cache) { delete cache; });
}

HeldCache& held_cache(const Arguments& args, size_t index) {
  if (!args.value(index).IsExternal()) args.type_error("expected a cache");
  HeldCache& held = *args.value(index).As<Napi::External<HeldCache>>().Data();
  if (held == nullptr) args.range_error("the cache has been disposed of");
  return held;
}

/// disposeKvCache(cache)
void dispose_kv_cache(const Napi::CallbackInfo& info) {
  const Arguments args(info, "disposeKvCache");
  held_cache(args, 0).reset();
  Recording::forget_handles();
}

/// selectKvRows(cache, indices)
Napi::Value select_kv_rows(const Napi::CallbackInfo& info) {
  const Arguments args(info, "selectKvRows");
  KvCache& cache = *held_cache(args, 0);
  const Ints indices = row_indices(args, cache.rows());
  Recording::forget_handles();
  cache.select(indices.size, indices.data);
  return Napi::Number::New(info.Env(), static_cast<double>(cache.bytes()));
}

/// The positions that new keys begin at, and the angles that turn them.
CacheStep cache_step(const Arguments& args, const AttentionArgs& p, const KvCache& cache) {
  expect_cache(args, p, {cache.rows(), cache.heads(), cache.layout().E, 0});
  CacheStep step = {args.ints(8, p.B, "positions").data, nullptr, nullptr, 0};
  const TurnArguments turn = turn_arguments(args, p);
  step.cos = turn.cos;
  step.sin = turn.sin;
  step.half = turn.half;
  return step;
}

/// What the queries may see of the rows once the new keys are written.
void check_places(Napi::Env env, const AttentionArgs& p, const int32_t* positions) {
  constexpr size_t kMost = std::numeric_limits<int32_t>::max();
  for (size_t i = 0; i < p.B * p.T; ++i) {
    const int32_t position = positions[i / p.T];
    const size_t keys = static_cast<size_t>(position) + p.T;
    if (position < 0 || keys > kMost)
      throw Napi::RangeError::New(env, "cachedAttention: a position is out of range");
    check_range(env, p, i, keys);
  }
}

/// cachedAttention(q, k, v, first, last, alibiSlopes, y, cache, positions, cos, sin, shape, scale,
/// softcap)
Napi::Value cached_attention_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "cachedAttention");
  const AttentionArgs p = attention_arguments(args, 11);
  if (p.q.is_bf16 || p.k.is_bf16 || p.v.is_bf16) args.type_error("q, k and v must be float32");
  KvCache& cache = *held_cache(args, 7);
  const CacheStep step = cache_step(args, p, cache);
  float* const y = args.floats(6, p.B * p.T * p.H * p.E, "y").data;
  if (Recording::current() != nullptr) Recording::current()->keep(info[7]);
  run([=, env = info.Env(), &cache] {
    check_places(env, p, step.positions);
    if (!cached_attention(p, step, cache, y))
      throw Napi::Error::New(env, "cachedAttention: no memory for the keys and values");
  });
  return Napi::Number::New(info.Env(), static_cast<double>(cache.bytes()));
}

}  // namespace

KvCache& cache_of_handle(const Arguments& args, size_t index) { return *held_cache(args, index); }

void add_attention(Napi::Object exports) {
  add_call<attention_call>(exports, "attention");
  add_call<attention_grad_call>(exports, "attentionGrad");
  add_call<create_kv_cache>(exports, "createKvCache");
  add_call<dispose_kv_cache>(exports, "disposeKvCache");
  add_call<select_kv_rows>(exports, "selectKvRows");
  add_call<cached_attention_call>(exports, "cachedAttention");
}

}  // namespace llmkit::binding
