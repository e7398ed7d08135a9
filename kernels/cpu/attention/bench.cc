// Speed of attention against the limits of the machine in the same run:
//   bench_attention [prefill|backward|decode] [threads] [cases]

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cpu/attention/attention.h"
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
            c.softcap};
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

/// One query a sequence over a long cache: GB/s of keys and values read.
void bench_decode() {
  const ReadProbe memory;
  std::printf("%s decode, %zu threads, share of the read bandwidth\n", isa_name(), thread_count());
  for (const Case& c : {Case{"f32", 8192, 32, 4, 64}, Case{"f32", 32768, 14, 2, 64},
                        Case{"f32", 32768, 1, 1, 64}, Case{"f32", 8192, 32, 8, 128}}) {
    Problem problem(c);
    AttentionArgs args = problem.args;
    const int32_t first = 0, last = static_cast<int32_t>(c.T) - 1;
    args.T = 1;
    args.first = &first;
    args.last = &last;
    const double bytes = 2.0 * static_cast<double>(c.T * c.K * c.E * sizeof(float));
    const Share share = share_of(bytes * 1e-9, [&] { return memory.gbps(0.02); },
                                 [&] { attention(args, problem.y.data(), nullptr); });
    std::printf("%-12s %5zu %3zu/%zu %4zu %8.1f GB/s %4.0f %%\n", c.name, c.T, c.H, c.K, c.E,
                share.rate, 100 * share.of_limit);
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
