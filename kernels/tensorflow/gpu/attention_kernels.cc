#include <algorithm>

#include "cuda/attention/attention.h"
#include "tensorflow/gpu/device_cache.h"

namespace llmkit::tensorflow_gpu {
namespace {

/// What attention and its gradient share.
struct AttentionOp {
  explicit AttentionOp(const Attributes& attributes)
      : scale(attributes.real("scale")),
        softcap(attributes.real("softcap")),
        slopes(attributes.reals("slopes")),
        rounded(attributes.flag("rounded")) {}

  /// Keys that `first` and `last` name beyond S are not seen.
  cuda::AttentionArgs arguments(Call& call) const {
    const Input<const float> q = call.floats(0), k = call.floats(1);
    if (q.shape.size() != 4 || k.shape.size() != 4)
      throw OpError("q must be [B, T, H, E], k [B, S, K, E]");
    cuda::AttentionArgs p = {};
    p.B = size(q, 0);
    p.T = size(q, 1);
    p.H = size(q, 2);
    p.E = size(q, 3);
    p.S = size(k, 1);
    p.K = size(k, 2);
    if (size(k, 0) != p.B || size(k, 3) != p.E || p.K == 0 || p.H % p.K != 0)
      throw OpError("q and k do not fit together");
    if (p.E > cuda::kMostHeadSize)
      throw OpError("heads of more than " + std::to_string(cuda::kMostHeadSize) +
                    " values have no kernel for the GPU");
    if (!slopes.empty()) expect(slopes.size(), p.H, "slopes");
    p.q = q.data;
    p.k = k.data;
    p.v = call.floats(2, k.size, "v");
    p.first = call.ints(3, p.B * p.T, "first");
    p.last = call.ints(4, p.B * p.T, "last");
    p.slopes = call.uploaded(slopes);
    p.scale = scale;
    p.softcap = softcap;
    p.rounded = rounded;
    p.instructions = cuda::invariant_instructions();
    return p;
  }

  static size_t size(const Input<const float>& x, size_t axis) {
    return static_cast<size_t>(x.shape[axis]);
  }
  static Shape queries(const cuda::AttentionArgs& p) {
    return {static_cast<int64_t>(p.B), static_cast<int64_t>(p.T), static_cast<int64_t>(p.H)};
  }

  float scale, softcap;
  std::vector<float> slopes;
  bool rounded;
};

struct Attention : AttentionOp {
  using AttentionOp::AttentionOp;

  void operator()(Call& call) const {
    const cuda::AttentionArgs p = arguments(call);
    Shape shape = queries(p);
    float* const log_sum_exp = call.output(1, shape);
    shape.push_back(static_cast<int64_t>(p.E));
    float* const y = call.output(0, shape);
    void* const workspace = call.scratch(cuda::attention_workspace(p));
    Call::check(cuda::attention(p, y, log_sum_exp, workspace, call.stream()));
  }
};

struct AttentionGrad : AttentionOp {
  using AttentionOp::AttentionOp;

  void operator()(Call& call) const {
    const cuda::AttentionArgs p = arguments(call);
    const size_t count = p.B * p.T * p.H;
    cuda::AttentionGradArgs grad = {};
    grad.y = call.floats(5, count * p.E, "y");
    grad.log_sum_exp = call.floats(6, count, "logSumExp");
    grad.dy = call.floats(7, count * p.E, "dy");
    Shape shape = queries(p);
    shape.push_back(static_cast<int64_t>(p.E));
    const Shape keys = {shape[0], static_cast<int64_t>(p.S), static_cast<int64_t>(p.K), shape[3]};
    grad.dq = call.output(0, shape);
    grad.dk = call.output(1, keys);
    grad.dv = call.output(2, keys);
    void* const workspace = call.scratch(cuda::attention_grad_workspace(p));
    Call::check(cuda::attention_grad(p, grad, workspace, call.stream()));
  }
};

/// Inputs as attention's, cos and sin, and on the host the number of the cache and the positions
/// [B] that new keys begin at.
struct CachedAttention : AttentionOp {
  using AttentionOp::AttentionOp;

  void operator()(Call& call) const {
    const cuda::AttentionArgs p = arguments(call);
    const int32_t* const place = call.host_ints(7, 1 + p.B, "place");
    const auto cache = device_cache(place[0]);
    if (p.S != p.T || p.K != cache->heads() || p.E != cache->head_size() || p.B != cache->rows())
      throw OpError("the shape is not that of the cache");
    Shape shape = queries(p);
    shape.push_back(static_cast<int64_t>(p.E));
    float* const y = call.output(0, shape);
    if (p.B * p.T == 0) return;
    const size_t most = most_keys(p, place + 1);
    const cuda::CachePages pages = cache->reserve(call, place + 1, p.T, most);
    const cuda::CacheStep step = step_of(call, p, place + 1);
    void* const workspace = call.scratch(cuda::cached_attention_workspace(p, pages));
    Call::check(cuda::cached_attention(p, step, pages, y, workspace, call.stream()));
  }

  /// Of any row after the step.
  static size_t most_keys(const cuda::AttentionArgs& p, const int32_t* positions) {
    constexpr size_t kMost = 0x7fffffff - cuda::kPageKeys;
    size_t most = 0;
    for (size_t b = 0; b < p.B; ++b) {
      const size_t keys = static_cast<size_t>(positions[b]) + p.T;
      if (positions[b] < 0 || keys > kMost) throw OpError("a position is out of range");
      most = std::max(most, keys);
    }
    return most;
  }

  static cuda::CacheStep step_of(Call& call, const cuda::AttentionArgs& p,
                                 const int32_t* positions) {
    const size_t bytes = p.B * sizeof(int32_t);
    auto* const copy = static_cast<int32_t*>(call.scratch(bytes));
    call.upload(copy, positions, bytes);
    cuda::CacheStep step = {copy, nullptr, nullptr, 0};
    add_angles(call, p.B * p.T, p.E, &step);
    return step;
  }
};

}  // namespace

void register_attention_kernels() {
  register_kernel<Attention>("LlmkitAttention");
  register_kernel<AttentionGrad>("LlmkitAttentionGrad");
  register_kernel<CachedAttention>("LlmkitCachedAttention", {"place"});
}

}  // namespace llmkit::tensorflow_gpu
