#include "cuda/attention/attention.h"

#include <algorithm>
#include <memory>
#include <unordered_map>

#include "binding/attention_arguments.h"
#include "cuda/attention/kv_cache.h"
#include "cuda/binding/arguments.h"

namespace llmkit::cuda {
namespace {

void expect_head_size(const Arguments& args, size_t E) {
  if (E > kMostHeadSize) args.range_error("heads of more than 256 values have no CUDA kernel");
}

/// The arguments of the CPU's addon, and behind softcap whether products may be rounded to bf16:
/// only then, and not of a cache, q, k and v are as they are held. Products agree with those of few
/// rows.
AttentionArgs device_arguments(const Arguments& args, size_t shape_index, bool cached = false) {
  const llmkit::AttentionArgs p = binding::attention_arguments(args, shape_index);
  expect_head_size(args, p.E);
  AttentionArgs device = {p.B,    p.T,      p.S,     p.H,       p.K,
                          p.E,    p.q,      p.k,     p.v,       p.first,
                          p.last, p.slopes, p.scale, p.softcap, args.flag(shape_index + 3)};
  device.instructions = invariant_instructions();
  if (device.rounded && !cached) return device;
  device.q = args.floats(0).data;
  device.k = args.floats(1).data;
  device.v = args.floats(2).data;
  return device;
}
llmkit::AttentionArgs sizes_of(const AttentionArgs& p) {
  llmkit::AttentionArgs sizes = {};
  sizes.B = p.B;
  sizes.T = p.T;
  sizes.S = p.S;
  sizes.H = p.H;
  sizes.K = p.K;
  sizes.E = p.E;
  return sizes;
}

/// attention(q, k, v, first, last, alibiSlopes, y, logSumExp, shape, scale, softcap, rounded,
/// training, warpgroups)
void attention_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "attention");
  AttentionArgs p = device_arguments(args, 8);
  if (args.flag(13)) p.instructions = Instructions::kWarpgroups;
  if (args.flag(13) && !has_warpgroups()) args.range_error("the GPU has no products of warpgroups");
  const size_t size = p.B * p.T * p.H * p.E;
  const Elements y =
      p.rounded ? args.output_elements(6, size, "y") : Elements(args.floats(6, size, "y").data);
  float* const log_sum_exp = args.optional_floats(7, p.B * p.T * p.H, "logSumExp").data;
  const Scratch workspace = scratch(attention_workspace(p));
  check(attention(p, y, log_sum_exp, workspace.data(), stream()), "attention");
}

/// attentionGrad(q, k, v, first, last, alibiSlopes, y, logSumExp, dy, dq, dk, dv, shape, scale,
/// softcap, rounded)
void attention_grad_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "attentionGrad");
  const AttentionArgs p = device_arguments(args, 12);
  const llmkit::AttentionGradArgs to = binding::attention_grad_arguments(args, sizes_of(p));
  const AttentionGradArgs grad = {to.y, to.log_sum_exp, to.dy, to.dq, to.dk, to.dv};
  const Scratch workspace = scratch(attention_grad_workspace(p));
  check(attention_grad(p, grad, workspace.data(), stream()), "attentionGrad");
}

/// What createKvCache returns a handle of, and the memory of its pages.
struct HeldCache {
  static constexpr uint64_t kMark = 0x6c6c6d6b69744b56;  // no other handle begins so
  uint64_t mark = kMark;
  std::unordered_map<void*, Block> blocks;
  std::unique_ptr<KvCache> cache;  // null once disposed of
};

/// Pages outlive a captured step: they come from the common pool whichever is in use.
CacheMemory memory_of(HeldCache& held) {
  const auto acquire = [&held](size_t bytes) {
    Block block = common_pool().acquire(bytes, "the cache of keys and values");
    void* const data = block.data();
    held.blocks.emplace(data, std::move(block));
    return data;
  };
  const auto release = [&held](void* data) { held.blocks.erase(data); };
  return {acquire, release, copy_to_device};
}

/// createKvCache(rows, heads, headSize, dtype)
Napi::Value create_kv_cache(const Napi::CallbackInfo& info) {
  const Arguments args(info, "createKvCache");
  const binding::CacheShape shape = binding::cache_shape(args);
  expect_head_size(args, shape.head_size);
  auto held = std::make_unique<HeldCache>();
  const PageLayout layout = {shape.head_size, static_cast<KvType>(shape.type)};
  held->cache = std::make_unique<KvCache>(shape.rows, shape.heads, layout, memory_of(*held));
  return Napi::External<HeldCache>::New(info.Env(), held.release(),
                                        [](Napi::Env, HeldCache* cache) {
                                          cache->cache.reset();  // gives its pages back to `blocks`
                                          delete cache;
                                        });
}

HeldCache& held_cache(const Arguments& args, size_t index) {
  if (!args.value(index).IsExternal()) args.type_error("expected a cache");
  HeldCache& held = *args.value(index).As<Napi::External<HeldCache>>().Data();
  if (held.mark != HeldCache::kMark) args.type_error("expected a cache");
  if (held.cache == nullptr) args.range_error("the cache has been disposed of");
  return held;
}

/// disposeKvCache(cache)
void dispose_kv_cache(const Napi::CallbackInfo& info) {
  held_cache(Arguments(info, "disposeKvCache"), 0).cache.reset();
}

Napi::Value bytes_of(Napi::Env env, const KvCache& cache) {
  return Napi::Number::New(env, static_cast<double>(cache.bytes()));
}

/// selectKvRows(cache, indices)
Napi::Value select_kv_rows(const Napi::CallbackInfo& info) {
  const Arguments args(info, "selectKvRows");
  KvCache& cache = *held_cache(args, 0).cache;
  const Ints indices = binding::row_indices(args, cache.rows());
  cache.select(indices.size, indices.data);
  return bytes_of(info.Env(), cache);
}

constexpr size_t kMostKeys = 0x7fffffff - kPageKeys;

/// reserveKv(cache, keys)
Napi::Value reserve_kv(const Napi::CallbackInfo& info) {
  const Arguments args(info, "reserveKv");
  KvCache& cache = *held_cache(args, 0).cache;
  const size_t keys = args.size(1, "keys");
  if (keys > kMostKeys) args.range_error("so many keys are out of range");
  check(cache.reserve_all(keys, stream()), "reserveKv");
  return bytes_of(info.Env(), cache);
}

/// Where the pages of a step's rows are: pointers, each of which takes two elements of an array.
struct StepTable {
  uint8_t** pages;
  size_t places;  // of a row
};

StepTable step_table(const Arguments& args, size_t index, size_t rows) {
  const Ints table = args.ints(index);
  const size_t places = args.quotient(table.size, 2 * rows, "table");
  if (places == 0 || places * kPageKeys > kMostKeys) args.range_error("the table is out of range");
  return {reinterpret_cast<uint8_t**>(table.data), places};
}

/// kvTableLength(rows, keys)
Napi::Value kv_table_length(const Napi::CallbackInfo& info) {
  const Arguments args(info, "kvTableLength");
  const size_t keys = args.size(1, "keys");
  if (keys > kMostKeys) args.range_error("so many keys are out of range");
  const size_t places = (keys + kPageKeys - 1) / kPageKeys;
  const size_t length = args.product({args.size(0, "rows"), places, 2});
  return Napi::Number::New(info.Env(), static_cast<double>(length));
}

/// writeKvTable(cache, table)
void write_kv_table(const Napi::CallbackInfo& info) {
  const Arguments args(info, "writeKvTable");
  const KvCache& cache = *held_cache(args, 0).cache;
  if (cache.rows() == 0) args.range_error("the cache has no rows");
  const StepTable table = step_table(args, 1, cache.rows());
  cache.write_table(table.pages, table.places);
}

/// Positions of the host, whose rows get the room that they need; returns the most keys of a row.
size_t reserve_positions(const Arguments& args, const AttentionArgs& p, KvCache& cache,
                         const Ints& positions) {
  size_t most = 0;
  for (size_t b = 0; b < positions.size; ++b) {
    if (positions.data[b] < 0 || static_cast<size_t>(positions.data[b]) + p.T > kMostKeys)
      args.range_error("a position is out of range");
    most = std::max(most, static_cast<size_t>(positions.data[b]) + p.T);
  }
  check(cache.reserve(positions.data, p.T, stream()), "cachedAttention");
  return most;
}

/// cachedAttention(q, k, v, first, last, alibiSlopes, y, cache, positions, cos, sin, shape, scale,
/// softcap, rounded, table), a table where the positions are on the device
Napi::Value cached_attention_call(const Napi::CallbackInfo& info) {
  const Arguments args(info, "cachedAttention");
  const AttentionArgs p = device_arguments(args, 11, true);
  KvCache& cache = *held_cache(args, 7).cache;
  const llmkit::AttentionArgs sizes = sizes_of(p);
  binding::expect_cache(args, sizes, {cache.rows(), cache.heads(), cache.layout().E, 0});
  float* const y = args.floats(6, p.B * p.T * p.H * p.E, "y").data;
  const binding::TurnArguments turn = binding::turn_arguments(args, sizes);
  CacheStep step = {nullptr, turn.cos, turn.sin, turn.half};
  if (p.B * p.T == 0) return bytes_of(info.Env(), cache);

  Block uploaded;
  CachePages pages;
  if (args.value(8).IsTypedArray()) {
    const Ints positions = args.host_ints(8);
    args.expect(positions.size, p.B, "positions");
    pages = cache.pages(reserve_positions(args, p, cache, positions));
    uploaded = on_device(positions.data, p.B * sizeof(int32_t), "cachedAttention");
    step.positions = uploaded.as<int32_t>();
  } else {
    step.positions = args.ints(8, p.B, "positions").data;
    const StepTable table = step_table(args, 15, p.B);
    pages = {cache.layout(), table.pages, table.places, table.places * kPageKeys};
  }
  const Scratch workspace = scratch(cached_attention_workspace(p, pages));
  check(cached_attention(p, step, pages, y, workspace.data(), stream()), "cachedAttention");
  return bytes_of(info.Env(), cache);
}

}  // namespace

void add_attention(Napi::Object exports) {
  add_procedure<attention_call>(exports, "attention");
  add_procedure<attention_grad_call>(exports, "attentionGrad");
  add_function<create_kv_cache>(exports, "createKvCache");
  add_procedure<dispose_kv_cache>(exports, "disposeKvCache");
  add_function<select_kv_rows>(exports, "selectKvRows");
  add_function<reserve_kv>(exports, "reserveKv");
  add_function<kv_table_length>(exports, "kvTableLength");
  add_procedure<write_kv_table>(exports, "writeKvTable");
  add_function<cached_attention_call>(exports, "cachedAttention");
}

}  // namespace llmkit::cuda
