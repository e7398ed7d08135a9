// Speed of the int8 products against the limits of this machine, measured in the same run:
//   bench_packed_int8 [threads] [rows] [cols] [group]
// Few rows are bound by reading the weight, which comes from memory; many rows by the arithmetic.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/parallel.h"
#include "cpu/packed/packed.h"
#include "testing/testing.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

double seconds_of(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Reads memory in one stream, ahead of itself.
uint64_t read_all(const uint8_t* p, size_t size) {
  const uint64_t* const words = reinterpret_cast<const uint64_t*>(p);
  uint64_t sums[8] = {};
  for (size_t i = 0; i + 8 <= size / 8; i += 8) {
    __builtin_prefetch(words + i + 512);
    for (size_t j = 0; j < 8; ++j) sums[j] += words[i + j];
  }
  return sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
}

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512vnni"))) void vnni_loop(size_t steps) {
  __m512i acc[16], x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(2);
  for (__m512i& a : acc) a = _mm512_setzero_si512();
  for (size_t step = 0; step < steps; ++step) {
    __asm__ volatile("" : "+v"(x), "+v"(y));
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) acc[i] = _mm512_dpbusd_epi32(acc[i], x, y);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) __asm__ volatile("" : : "v"(acc[i]));
}

__attribute__((target("avx2"))) void avx2_loop(size_t steps) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i acc[8], x = _mm256_set1_epi8(3), y = _mm256_set1_epi8(2);
  for (__m256i& a : acc) a = _mm256_setzero_si256();
  for (size_t step = 0; step < steps; ++step)
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      __asm__ volatile("" : "+x"(x), "+x"(y));
      const __m256i pairs = _mm256_madd_epi16(_mm256_maddubs_epi16(x, y), ones);
      acc[i] = _mm256_add_epi32(acc[i], pairs);
    }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) __asm__ volatile("" : : "x"(acc[i]));
}
#endif

/// GOP/s of int8 multiply-adds on registers, all threads together; 0 where it is not known.
double arithmetic_limit() {
  const size_t threads = thread_count();
  constexpr size_t kSteps = 500000;
  double operations = 0;
  void (*loop)(size_t) = nullptr;
#if defined(__x86_64__)
  if (runs_here(isa::kAvx512Vnni)) {
    loop = vnni_loop;
    operations = 16.0 * 128 * kSteps;
  } else if (runs_here(isa::kAvx2)) {
    loop = avx2_loop;
    operations = 8.0 * 64 * kSteps;
  }
#endif
  if (loop == nullptr) return 0;
  return 1e-9 * operations * static_cast<double>(threads) / seconds_of([&] {
    parallel_for(threads, 1, [&](size_t begin, size_t end) {
      for (; begin < end; ++begin) loop(kSteps);
    });
  });
}

class Bench {
 public:
  Bench(size_t rows, size_t cols, size_t group)
      : cols_(cols), rows_(rows), group_(group), x_(kMost * cols, 1), y_(kMost * rows, 2) {
    const RandomCodes source(rows, cols, group);
    const size_t copies = kMemory / (rows * cols / 2) + 1;
    const double seconds = seconds_of([&] {
      for (size_t i = 0; i < copies; ++i)
        weights_.push_back(pack_weight(source.view, Compute::kInt8));
    });
    std::printf("g%zu packing %.2f GB/s of codes\n", group,
                1e-9 * static_cast<double>(copies * rows * cols / 2) / seconds);
  }

  /// Few rows: all weights in turn, so that they come from memory, and a plain read of the same
  /// bytes before each turn.
  void few(size_t m) {
    const size_t size = weights_[0].tiles * weights_[0].tile_bytes;
    const double bytes = static_cast<double>(size * weights_.size());
    std::vector<double> reads, products, shares;
    for (int i = 0; i < 5; ++i) {
      reads.push_back(1e-9 * bytes / seconds_of([&] { read_weights(size); }));
      products.push_back(1e-9 * bytes / seconds_of([&] {
        for (const PackedWeight& w : weights_)
          packed_linear(w, m, x_.data(), nullptr, y_.data());
      }));
      shares.push_back(products.back() / reads.back());
    }
    const double gops = median(products) / static_cast<double>(size) * operations(m);
    std::printf("g%-4zu M=%-4zu %6.1f GB/s of %6.1f read: %3.0f %%   %7.1f GOP/s\n", group_, m,
                median(products), median(reads), 100 * median(shares), gops);
  }

  /// Many rows, and register arithmetic before each turn.
  void many(size_t m) {
    std::vector<double> limits, products, shares;
    for (size_t i = 0; i < 15; ++i) {
      const PackedWeight& w = weights_[i % weights_.size()];
      limits.push_back(arithmetic_limit());
      products.push_back(1e-9 * operations(m) / seconds_of([&] {
        packed_linear(w, m, x_.data(), nullptr, y_.data());
      }));
      shares.push_back(products.back() / limits.back());
    }
    std::printf("g%-4zu M=%-4zu %7.1f GOP/s of %7.1f: %3.0f %%\n", group_, m, median(products),
                median(limits), 100 * median(shares));
  }

 private:
  static constexpr size_t kMost = 512, kMemory = size_t{700} << 20;

  struct RandomCodes {
    std::vector<uint8_t> codes;
    std::vector<float> scales;
    WeightView view;
    RandomCodes(size_t rows, size_t cols, size_t group)
        : codes(random_bytes(rows * cols / 2, 3)), scales(random_normal(rows * cols / group, 4)) {
      for (float& scale : scales) scale = static_cast<float>(static_cast<int>(scale * 64)) / 64;
      view.format = WeightFormat::kInt4;
      view.rows = rows;
      view.cols = cols;
      view.group_size = group;
      view.codes = codes.data();
      view.scales = scales.data();
    }
  };

  double operations(size_t m) const { return 2.0 * static_cast<double>(m * rows_ * cols_); }
  void read_weights(size_t size) const {
    const size_t pieces = 4 * thread_count();
    for (const PackedWeight& w : weights_)
      parallel_for(pieces, 1, [&](size_t begin, size_t end) {
        const size_t from = size * begin / pieces / 64 * 64, to = size * end / pieces / 64 * 64;
        volatile const uint64_t sink = read_all(w.data + from, to - from);
        (void)sink;
      });
  }

  size_t cols_, rows_, group_;
  Buffer x_, y_;
  std::vector<PackedWeight> weights_;
};

}  // namespace

int main(int argc, char** argv) {
  const auto argument = [&](int i, size_t otherwise) {
    return argc > i ? static_cast<size_t>(std::atoi(argv[i])) : otherwise;
  };
  set_thread_count(argument(1, 1));
  const size_t rows = argument(2, 5632), cols = argument(3, 2048), group = argument(4, 32);
  Bench bench(rows, cols, group);
  std::printf("%s, %zu threads, %zu x %zu\n", isa_name(), thread_count(), rows, cols);
  for (size_t m : {1, 2, 4, 8, 16}) bench.few(m);
  for (size_t m : {16, 64, 512}) bench.many(m);
}
