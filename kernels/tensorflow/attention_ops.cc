#include <limits>
#include <vector>

#include "cpu/attention/attention.h"
#include "cpu/attention/kv_cache.h"
#include "tensorflow/arguments.h"
#include "tensorflow/names.h"

namespace llmkit::tensorflow {
namespace {

/// What attention and its gradient share. `rounded` allows a GPU to round products to bf16.
struct AttentionOp {
  explicit AttentionOp(const Attributes& attributes)
      : scale(attributes.real("scale")),
        softcap(attributes.real("softcap")),
        slopes(attributes.reals("slopes")) {}

  AttentionArgs sizes(Call& call) const {
    const Input<const float> q = call.floats(0), k = call.floats(1);
    if (q.shape.size() != 4 || k.shape.size() != 4)
      throw OpError("q must be [B, T, H, E], k [B, S, K, E]");
    AttentionArgs p;
    p.B = size(q, 0);
    p.T = size(q, 1);
    p.H = size(q, 2);
    p.E = size(q, 3);
    p.S = size(k, 1);
    p.K = size(k, 2);
    if (size(k, 0) != p.B || size(k, 3) != p.E || p.K == 0 || p.H % p.K != 0)
      throw OpError("q and k do not fit together");
    p.q = q.data;
    p.k = k.data;
    p.v = call.floats(2, k.size, "v");
    p.first = call.ints(3, p.B * p.T, "first");
    p.last = call.ints(4, p.B * p.T, "last");
    if (!slopes.empty()) expect(slopes.size(), p.H, "slopes");
    p.slopes = slopes.empty() ? nullptr : slopes.data();
    p.scale = scale;
    p.softcap = softcap;
    return p;
  }

  /// The same, of all keys at once.
  AttentionArgs checked(Call& call) const {
    const AttentionArgs p = sizes(call);
    for (size_t i = 0; i < p.B * p.T; ++i) check_range(p, i, p.S);
    return p;
  }

  /// Every visible range must lie within the keys: nothing else bounds what is read.
  static void check_range(const AttentionArgs& p, size_t query, size_t keys) {
    const int32_t first = p.first[query], last = p.last[query];
    if (last >= first && (first < 0 || static_cast<size_t>(last) >= keys))
      throw OpError("keys " + std::to_string(first) + ".." + std::to_string(last) +
                    " are not among " + std::to_string(keys));
  }

  static size_t size(const Input<const float>& x, size_t axis) {
    return static_cast<size_t>(x.shape[axis]);
  }
  static Shape queries(const AttentionArgs& p) {
    return {static_cast<int64_t>(p.B), static_cast<int64_t>(p.T), static_cast<int64_t>(p.H)};
  }

  float scale, softcap;
  std::vector<float> slopes;
};

struct Attention : AttentionOp {
  using AttentionOp::AttentionOp;

  void operator()(Call& call) const {
    const AttentionArgs p = checked(call);
    Shape shape = queries(p);
    float* const log_sum_exp = call.output(1, shape);
    shape.push_back(static_cast<int64_t>(p.E));
    attention(p, call.output(0, shape), log_sum_exp);
  }
};

struct AttentionGrad : AttentionOp {
  using AttentionOp::AttentionOp;

  void operator()(Call& call) const {
    const AttentionArgs p = checked(call);
    const size_t count = p.B * p.T * p.H;
    AttentionGradArgs grad;
    grad.y = call.floats(5, count * p.E, "y");
    grad.log_sum_exp = call.floats(6, count, "logSumExp");
    grad.dy = call.floats(7, count * p.E, "dy");
    Shape shape = queries(p);
    shape.push_back(static_cast<int64_t>(p.E));
    const Shape keys = {shape[0], static_cast<int64_t>(p.S), static_cast<int64_t>(p.K), shape[3]};
    grad.dq = call.output(0, shape);
    grad.dk = call.output(1, keys);
    grad.dv = call.output(2, keys);
    attention_grad(p, grad);
  }
};

/// Inputs as attention's, cos and sin, and of int32 the number of the cache and the positions [B]
/// that new keys begin at: attributes would make a kernel per cache and per token.
struct CachedAttention : AttentionOp {
  using AttentionOp::AttentionOp;

  void operator()(Call& call) const {
    const AttentionArgs p = sizes(call);
    const Input<const int32_t> place = call.ints(7);
    if (place.size != 1 + p.B) throw OpError("place must be a cache and B positions");
    KvCache& cache = named_cache(place.data[0]);
    if (p.S != p.T || p.K != cache.heads() || p.E != cache.layout().E || p.B != cache.rows())
      throw OpError("the shape is not that of the cache");
    const CacheStep step = step_of(call, p, place.data + 1);
    Shape shape = queries(p);
    shape.push_back(static_cast<int64_t>(p.E));
    if (!cached_attention(p, step, cache, call.output(0, shape)))
      throw OpError("no memory for the keys and values");
  }

  static CacheStep step_of(Call& call, const AttentionArgs& p, const int32_t* positions) {
    constexpr size_t kMost = std::numeric_limits<int32_t>::max();
    for (size_t i = 0; i < p.B * p.T; ++i) {
      const int32_t position = positions[i / p.T];
      const size_t keys = static_cast<size_t>(position) + p.T;
      if (position < 0 || keys > kMost) throw OpError("a position is out of range");
      check_range(p, i, keys);
    }
    CacheStep step = {positions, nullptr, nullptr, 0};
    add_angles(call, p.B * p.T, p.E, &step);
    return step;
  }
};

}  // namespace

void register_attention_ops() {
  const std::vector<const char*> inputs = {"q: float", "k: float", "v: float", "first: int32",
                                           "last: int32"};
  const std::vector<const char*> attributes = {"scale: float", "softcap: float",
                                               "slopes: list(float)", "rounded: bool"};
  register_op<Attention>({"LlmkitAttention", inputs, {"y: float", "lse: float"}, attributes});
  std::vector<const char*> grad_inputs = inputs;
  grad_inputs.insert(grad_inputs.end(), {"y: float", "lse: float", "dy: float"});
  register_op<AttentionGrad>(
      {"LlmkitAttentionGrad", grad_inputs, {"dq: float", "dk: float", "dv: float"}, attributes});
  std::vector<const char*> cached_inputs = inputs;
  cached_inputs.insert(cached_inputs.end(), {"cos: float", "sin: float", "place: int32"});
  register_op<CachedAttention>({"LlmkitCachedAttention", cached_inputs, {"y: float"}, attributes});
}

}  // namespace llmkit::tensorflow
