#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/cpu_features.h"
#include "base/huge_buffer.h"
#include "base/parallel.h"

// What the machine can do at best, measured where a benchmark runs, for its kernels to be held
// against. The number of threads is that of the pool.

namespace llmkit::testing {

/// Seconds of the fastest of some runs of body; runs until `budget` seconds are over.
template <typename Body>
double fastest_seconds(double budget, const Body& body) {
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::time_point from) {
    return std::chrono::duration<double>(Clock::now() - from).count();
  };
  body();
  double best = 1e9;
  for (const auto begun = Clock::now(); seconds(begun) < budget;) {
    const auto start = Clock::now();
    body();
    best = std::min(best, seconds(start));
  }
  return best;
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) inline float fma_chains_avx512(size_t steps) {
  __m512 acc[24];
  for (int i = 0; i < 24; ++i) acc[i] = _mm512_set1_ps(static_cast<float>(i));
  __m512 a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(1.0f);
  for (size_t step = 0; step < steps; ++step) {
    asm volatile("" : "+v"(a), "+v"(b));  // or the loop would be worked out beforehand
#pragma GCC unroll 24
    for (int i = 0; i < 24; ++i) acc[i] = _mm512_fmadd_ps(acc[i], a, b);
  }
  for (int i = 1; i < 24; ++i) acc[0] = _mm512_add_ps(acc[0], acc[i]);
  alignas(64) float lanes[16];
  _mm512_store_ps(lanes, acc[0]);
  return lanes[0];
}

__attribute__((target("avx2,fma"))) inline float fma_chains_avx2(size_t steps) {
  __m256 acc[12];
  for (int i = 0; i < 12; ++i) acc[i] = _mm256_set1_ps(static_cast<float>(i));
  __m256 a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(1.0f);
  for (size_t step = 0; step < steps; ++step) {
    asm volatile("" : "+x"(a), "+x"(b));
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) acc[i] = _mm256_fmadd_ps(acc[i], a, b);
  }
  for (int i = 1; i < 12; ++i) acc[0] = _mm256_add_ps(acc[0], acc[i]);
  return _mm256_cvtss_f32(acc[0]);
}
#endif

/// Float32 multiply-adds of registers, in GFLOP/s (two operations each); 0 where it is not known.
inline double peak_f32_gflops(double budget) {
  double flops_per_step = 0;
  float (*chains)(size_t) = nullptr;
#if defined(__x86_64__)
  if (runs_here(isa::kAvx2)) {
    chains = fma_chains_avx2;
    flops_per_step = 2 * 12 * 8;
  }
  if (runs_here(isa::kAvx512)) {
    chains = fma_chains_avx512;
    flops_per_step = 2 * 24 * 16;
  }
#endif
  if (chains == nullptr) return 0;
  const size_t steps = 20000, pieces = 4 * thread_count();
  volatile float sink = 0;
  const double seconds = fastest_seconds(budget, [&] {
    parallel_for(pieces, 1, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) sink = chains(steps);
    });
  });
  return flops_per_step * static_cast<double>(steps * pieces) / seconds * 1e-9;
}

/// Memory far larger than the caches, to read from.
class ReadProbe {
 public:
  ReadProbe() : buffer_(kSize) {
    uint64_t* const words = reinterpret_cast<uint64_t*>(buffer_.bytes());
    std::fill(words, words + kSize / 8, 1);  // pages that were never written share one of zeros
  }

  /// Reading it, one stream per thread, in GB/s.
  double gbps(double budget) const {
    const uint64_t* const words = reinterpret_cast<uint64_t*>(buffer_.bytes());
    const size_t pieces = 4 * thread_count();
    volatile uint64_t sink = 0;
    const double seconds = fastest_seconds(budget, [&] {
      parallel_for(pieces, 1, [&](size_t begin, size_t end) {
        uint64_t sums[8] = {};
        const uint64_t* const to = words + end * (kSize / 8 / pieces);
        for (const uint64_t* p = words + begin * (kSize / 8 / pieces); p < to; p += 8) {
          __builtin_prefetch(p + 512);
          for (int i = 0; i < 8; ++i) sums[i] += p[i];
        }
        sink = sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
      });
    });
    return static_cast<double>(kSize) / seconds * 1e-9;
  }

 private:
  static constexpr size_t kSize = size_t{256} << 20;
  HugeBuffer buffer_;
};

/// What a kernel reaches beside what the machine does at best.
struct Share {
  double rate, of_limit;
};

/// Measures both in turn, for a machine's limits change with its neighbours: medians of the rate,
/// which is work / seconds of run, and of its share of the limit.
template <typename Limit, typename Run>
Share share_of(double work, const Limit& limit, const Run& run) {
  constexpr size_t kRounds = 7;
  std::vector<double> rates, shares;
  for (size_t i = 0; i < kRounds; ++i) {
    const double best = limit();
    rates.push_back(work / fastest_seconds(0.03, run));
    shares.push_back(rates.back() / std::max(best, 1e-9));
  }
  std::sort(rates.begin(), rates.end());
  std::sort(shares.begin(), shares.end());
  return {rates[kRounds / 2], shares[kRounds / 2]};
}

}  // namespace llmkit::testing
