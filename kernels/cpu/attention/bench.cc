// Speed of attention against the limits of the machine in the same run:
//   bench_attention [prefill|backward|decode] [threads] [cases]
//   LLMKIT_ROUNDED=1: with products of bf16, where there are any

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "cpu/attention/attention.h"
#include "cpu/attention/kv_cache.h"
#include "testing/limits.h"
#include "testing/testing.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

struct Case {
  const char* name;
  size_t T, H, K, E;
  int32_t window = 1 << 30, segment = 1 << 30;
  float softcap = 0;
  bool slopes = false;
};

const Case kCases[] = {
    {"causal", 512, 32, 4, 64},
    {"causal", 2048, 32, 4, 64},
    {"causal", 512, 14, 2, 64},
    {"causal", 2048, 14, 2, 64},
    {"causal", 512, 1, 1, 64},
    {"causal", 2048, 1, 1, 64},
    {"causal", 2048, 32, 4, 80},
    {"causal", 512, 32, 4, 128},
    {"causal", 2048, 32, 4, 128},
    {"window 512", 2048, 32, 4, 64, 512},
    {"window 512", 2048, 1, 1, 64, 512},
    {"packed 300", 2048, 32, 4, 64, 1 << 30, 300},
    {"softcap", 2048, 32, 4, 64, 1 << 30, 1 << 30, 30},
    {"alibi", 2048, 32, 4, 64, 1 << 30, 1 << 30, 0, true},
};

/// Random inputs of a case, and how many pairs of query and key there are per head.
struct Problem {
  Buffer q, k, v, slopes, y, log_sum_exp, dq, dk, dv;
  std::vector<int32_t> first, last;
  AttentionArgs args;
  double pairs = 0;

  explicit Problem(const Case& c)
      : q(c.T * c.H * c.E, 1),
        k(c.T * c.K * c.E, 2),
        v(k.size(), 3),
        slopes(c.H, 4),
        y(q.size(), 5),
        log_sum_exp(c.T * c.H, 6),
        dq(q.size(), 7),
        dk(k.size(), 8),
        dv(k.size(), 9) {
    for (int32_t t = 0; t < static_cast<int32_t>(c.T); ++t) {
      last.push_back(t);
      first.push_back(std::max(t / c.segment * c.segment, t - c.window + 1));
      pairs += t - first.back() + 1;
    }
    for (size_t h = 0; h < c.H; ++h)
      slopes[h] = std::exp2(-8.0f * static_cast<float>(h + 1) / static_cast<float>(c.H));
    args = {1,
            c.T,
            c.T,
            c.H,
            c.K,
            c.E,
            q.data(),
            k.data(),
            v.data(),
            first.data(),
            last.data(),
            c.slopes ? slopes.data() : nullptr,
            0.125f,
            c.softcap,
            std::getenv("LLMKIT_ROUNDED") != nullptr};
  }

  void forward() { attention(args, y.data(), log_sum_exp.data()); }
  void backward() {
    attention_grad(args,
                   {y.data(), log_sum_exp.data(), q.data(), dq.data(), dk.data(), dv.data()});
  }
};

/// One line: the operations of `products` products of a query with a key.
template <typename Run>
void report(const Case& c, const Problem& problem, int products, const Run& run) {
  const double flops = 2.0 * products * problem.pairs * static_cast<double>(c.H * c.E);
  const Share share = share_of(flops * 1e-9, [] { return peak_f32_gflops(0.02); }, run);
  std::printf("%-12s %5zu %3zu/%zu %4zu %8.1f GFLOP/s %4.0f %%\n", c.name, c.T, c.H, c.K, c.E,
              share.rate, 100 * share.of_limit);
}

void bench(bool backward, const char* name) {
  std::printf("%s %s, %zu threads, share of the f32 peak\n", isa_name(),
              backward ? "backward (5 products)" : "forward (2 products)", thread_count());
  for (const Case& c : kCases) {
    if (name != nullptr && std::strcmp(name, c.name) != 0) continue;
    Problem problem(c);
    problem.forward();
    if (backward)
      report(c, problem, 5, [&] { problem.backward(); });
    else
      report(c, problem, 2, [&] { problem.forward(); });
  }
}

/// Layers of a cache that no processor's caches hold together.
constexpr size_t kLayers = 16;

/// kLayers caches with c.T - 1 keys each.
std::vector<std::unique_ptr<KvCache>> filled_caches(const Case& c, const Problem& problem,
                                                    KvType type) {
  std::vector<std::unique_ptr<KvCache>> layers;
  Buffer y(c.T * c.H * c.E, 5);
  std::vector<int32_t> unseen(c.T, -1), first(c.T);
  const int32_t start = 0;
  AttentionArgs args = problem.args;
  args.T = args.S = c.T - 1;
  args.first = first.data();
  args.last = unseen.data();
  for (size_t i = 0; i < kLayers; ++i) {
    layers.push_back(std::make_unique<KvCache>(1, c.K, PageLayout{c.E, type}));
    cached_attention(args, {&start, nullptr, nullptr, 0}, *layers.back(), y.data());
  }
  return layers;
}

/// One line: one query over a long cache, GB/s of keys and values read and time of a layer.
void bench_decode(const Case& c, KvType type, const ReadProbe& memory) {
  Problem problem(c);
  const auto layers = filled_caches(c, problem, type);
  const int32_t first = 0, last = static_cast<int32_t>(c.T) - 1;
  AttentionArgs args = problem.args;
  args.T = args.S = 1;
  args.first = &first;
  args.last = &last;
  const double bytes = static_cast<double>(kLayers * layers[0]->bytes());
  const Share share = share_of(
      bytes * 1e-9, [&] { return memory.gbps(0.02); },
      [&] {
        for (const auto& layer : layers)
          cached_attention(args, {&last, nullptr, nullptr, 0}, *layer, problem.y.data());
      });
  std::printf("%-5s %6zu %3zu/%zu %4zu %8.1f GB/s %4.0f %% %9.1f us\n", c.name, c.T, c.H, c.K, c.E,
              share.rate, 100 * share.of_limit, bytes / kLayers / share.rate * 1e-3);
}

void bench_decode() {
  const ReadProbe memory;
  std::printf("%s decode, %zu threads, share of the read bandwidth, a layer's time\n", isa_name(),
              thread_count());
  constexpr const char* kNames[] = {"f32", "bf16", "int8"};
  for (const KvType type : {KvType::kF32, KvType::kBf16, KvType::kInt8}) {
    const char* const name = kNames[static_cast<int>(type)];
    for (const Case& c : {Case{name, 2048, 32, 4, 64}, Case{name, 8192, 14, 2, 64},
                          Case{name, 8192, 2, 2, 64}, Case{name, 2048, 32, 8, 128}})
      bench_decode(c, type, memory);
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count > 2) set_thread_count(static_cast<size_t>(std::atoi(arguments[2])));
  if (count > 1 && std::strcmp(arguments[1], "decode") == 0) {
    bench_decode();
    return 0;
  }
  const bool backward = count > 1 && std::strcmp(arguments[1], "backward") == 0;
  bench(backward, count > 3 ? arguments[3] : nullptr);
}
