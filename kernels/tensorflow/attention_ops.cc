#include <cstring>
#include <vector>

#include "cpu/attention/attention.h"
#include "tensorflow/op.h"

namespace llmkit::tensorflow {
namespace {

/// What attention and its gradient share.
struct AttentionOp {
  explicit AttentionOp(const Attributes& attributes)
      : scale(attributes.real("scale")),
        softcap(attributes.real("softcap")),
        slopes(attributes.reals("slopes")) {}

  AttentionArgs arguments(Call& call) const {
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
    check_ranges(p);
    return p;
  }

  /// Every visible range must lie within the keys: nothing else bounds what is read.
  static void check_ranges(const AttentionArgs& p) {
    for (size_t i = 0; i < p.B * p.T; ++i)
      if (p.last[i] >= p.first[i] && (p.first[i] < 0 || static_cast<size_t>(p.last[i]) >= p.S))
        throw OpError("keys " + std::to_string(p.first[i]) + ".." + std::to_string(p.last[i]) +
                      " are not among " + std::to_string(p.S));
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
    const AttentionArgs p = arguments(call);
    Shape shape = queries(p);
    float* const log_sum_exp = call.output(1, shape);
    shape.push_back(static_cast<int64_t>(p.E));
    attention(p, call.output(0, shape), log_sum_exp);
  }
};

struct AttentionGrad : AttentionOp {
  using AttentionOp::AttentionOp;

  void operator()(Call& call) const {
    const AttentionArgs p = arguments(call);
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

/// Copies x [B, T, row] into cache [B, capacity, row] at positions [B], in place.
struct CacheWrite {
  explicit CacheWrite(const Attributes&) {}

  void operator()(Call& call) const {
    const Input<float> cache = call.writable_floats(0);
    const Input<const float> x = call.floats(1);
    if (cache.shape.size() < 2 || x.shape.size() != cache.shape.size())
      throw OpError("cache must be [B, C, ...], x [B, T, ...]");
    const auto batch = static_cast<size_t>(cache.shape[0]);
    const auto capacity = static_cast<size_t>(cache.shape[1]);
    const auto tokens = static_cast<size_t>(x.shape[1]);
    const int32_t* const positions = call.ints(2, batch, "positions");
    if (batch == 0 || capacity == 0) return;
    const size_t row = cache.size / batch / capacity;
    expect(x.size, batch * tokens * row, "x");
    for (size_t b = 0; b < batch; ++b) {
      if (positions[b] < 0 || static_cast<size_t>(positions[b]) + tokens > capacity)
        throw OpError("the tokens do not fit the cache");
      float* const to = cache.data + (b * capacity + static_cast<size_t>(positions[b])) * row;
      std::memcpy(to, x.data + b * tokens * row, tokens * row * sizeof(float));
    }
  }
};

}  // namespace

void register_attention_ops() {
  const std::vector<const char*> inputs = {"q: float", "k: float", "v: float", "first: int32",
                                           "last: int32"};
  const std::vector<const char*> attributes = {"scale: float", "softcap: float",
                                               "slopes: list(float)"};
  register_op<Attention>({"LlmkitAttention", inputs, {"y: float", "lse: float"}, attributes});
  std::vector<const char*> grad_inputs = inputs;
  grad_inputs.insert(grad_inputs.end(), {"y: float", "lse: float", "dy: float"});
  register_op<AttentionGrad>(
      {"LlmkitAttentionGrad", grad_inputs, {"dq: float", "dk: float", "dv: float"}, attributes});
  register_op<CacheWrite>(
      {"LlmkitCacheWrite", {"cache: float", "x: float", "positions: int32"}, {}, {}});
}

}  // namespace llmkit::tensorflow
