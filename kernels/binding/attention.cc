#include "cpu/attention/attention.h"

#include <limits>
#include <memory>
#include <string>

#include "binding/arguments.h"
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

AttentionArgs attention_arguments(const Arguments& args, size_t shape_index) {
  AttentionArgs p;
  const Napi::Value value = args.value(shape_index);
  if (!value.IsArray()) args.type_error("shape must be an array");
  const Napi::Array shape = value.As<Napi::Array>();
  size_t* const sizes[] = {&p.B, &p.T, &p.S, &p.H, &p.K, &p.E};
  for (uint32_t i = 0; i < 6; ++i) {
    const int64_t size = shape.Get(i).ToNumber().Int64Value();
    if (size < (i < 3 ? 0 : 1) || size > 0x7fffffff) args.range_error("a size is out of range");
    *sizes[i] = static_cast<size_t>(size);
  }
  if (p.H % p.K != 0) args.range_error("heads must be a multiple of key/value heads");
  const size_t keys = args.product({p.B, p.S, p.K, p.E});
  p.q = args.floats(0, args.product({p.B, p.T, p.H, p.E}), "q").data;
  p.k = args.floats(1, keys, "k").data;
  p.v = args.floats(2, keys, "v").data;
  p.first = args.ints(3, p.B * p.T, "first").data;
  p.last = args.ints(4, p.B * p.T, "last").data;
  p.slopes = args.optional_floats(5, p.H, "alibiSlopes").data;
  p.scale = args.real(shape_index + 1);
  p.softcap = args.real(shape_index + 2);
  return p;
}

/// attention(q, k, v, first, last, alibiSlopes, y, logSumExp, shape, scale, softcap)
void attention_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "attention");
  const AttentionArgs p = attention_arguments(args, 8);
  for (size_t i = 0; i < p.B * p.T; ++i) check_range(info.Env(), p, i, p.S);
  attention(p, args.floats(6, p.B * p.T * p.H * p.E, "y").data,
            args.optional_floats(7, p.B * p.T * p.H, "logSumExp").data);
}

/// attentionGrad(q, k, v, first, last, alibiSlopes, y, logSumExp, dy, dq, dk, dv, shape, scale,
/// softcap)
void attention_grad_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "attentionGrad");
  const AttentionArgs p = attention_arguments(args, 12);
  for (size_t i = 0; i < p.B * p.T; ++i) check_range(info.Env(), p, i, p.S);
  const size_t queries = p.B * p.T * p.H * p.E, keys = p.B * p.S * p.K * p.E;
  AttentionGradArgs grad;
  grad.y = args.floats(6, queries, "y").data;
  grad.log_sum_exp = args.floats(7, p.B * p.T * p.H, "logSumExp").data;
  grad.dy = args.floats(8, queries, "dy").data;
  grad.dq = args.floats(9, queries, "dq").data;
  grad.dk = args.floats(10, keys, "dk").data;
  grad.dv = args.floats(11, keys, "dv").data;
  attention_grad(p, grad);
}

/// What createKvCache returns a handle of; null once disposed of.
using HeldCache = std::unique_ptr<KvCache>;

constexpr const char* kKvTypeNames[] = {"f32", "bf16", "int8"};
constexpr size_t kMostRows = 1 << 20, kMostHeads = 1 << 16;

/// createKvCache(rows, heads, headSize, dtype)
Napi::Value create_kv_cache(const Napi::CallbackInfo& info) {
  const Arguments args(info, "createKvCache");
  const size_t rows = args.size(0, "rows"), heads = args.positive(1, "heads");
  const size_t head_size = args.positive(2, "headSize");
  if (rows > kMostRows || heads > kMostHeads || head_size > kMostHeads)
    args.range_error("a size is out of range");
  const PageLayout layout = {head_size, static_cast<KvType>(args.choice(3, kKvTypeNames))};
  auto held = std::make_unique<HeldCache>(std::make_unique<KvCache>(rows, heads, layout));
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
  const Ints indices = args.ints(1);
  for (size_t i = 0; i < indices.size; ++i)
    if (indices.data[i] < 0 || static_cast<size_t>(indices.data[i]) >= cache.rows())
      args.range_error("there is no row " + std::to_string(indices.data[i]));
  Recording::forget_handles();
  cache.select(indices.size, indices.data);
  return Napi::Number::New(info.Env(), static_cast<double>(cache.bytes()));
}

/// The positions that new keys begin at, and the angles that turn them.
CacheStep cache_step(const Arguments& args, const AttentionArgs& p, const KvCache& cache) {
  if (p.S != p.T || p.K != cache.heads() || p.E != cache.layout().E)
    args.range_error("the shape is not that of the cache");
  args.expect(p.B, cache.rows(), "rows");
  CacheStep step = {args.ints(8, p.B, "positions").data, nullptr, nullptr, 0};
  if (args.value(9).IsNull() || p.B * p.T == 0) return step;
  const Floats cos = args.floats(9);
  step.half = args.quotient(cos.size, p.B * p.T, "cos");
  if (2 * step.half > p.E) args.range_error("cos is wider than half a head");
  step.cos = cos.data;
  step.sin = args.floats(10, cos.size, "sin").data;
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
