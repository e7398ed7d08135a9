// What this machine can do at most, as one line of JSON:
//   limits all T1,T2   {"1": {"read": GB/s, "fp32": GFLOP/s, …}, "2": {…}}
//   limits read T      the read bandwidth alone, {"T": {"read": GB/s}}
//   limits files T PATH...   how fast files are read that the system has in memory, {"T": {"files":
//   GB/s}}
// Rates are of all threads together. What is read, from memory or from files, is the median of its
// repetitions, since it changes with the neighbours; a peak is the best of them, since it can only
// be disturbed.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "work.h"

namespace {

constexpr int kRepetitions = 7, kFileRepetitions = 3;

using Clock = std::chrono::steady_clock;

/** Starts and ends a repetition in all threads at once. */
class Barrier {
 public:
  explicit Barrier(int threads) : threads_(threads) {}

  void Wait() {
    const int phase = phase_.load();
    if (arrived_.fetch_add(1) + 1 == threads_) {
      arrived_ = 0;
      ++phase_;
    }
    while (phase_.load() == phase) std::this_thread::yield();
  }

 private:
  const int threads_;
  std::atomic<int> arrived_{0};
  std::atomic<int> phase_{0};
};

/** Rates of the repetitions in 1e9 per second, ascending; one warm-up is dropped. */
std::vector<double> Rates(const Work& work, int threads, int repetitions = kRepetitions) {
  Barrier barrier(threads);
  std::vector<double> rates;
  auto run = [&](int thread) {
    for (int i = 0; i <= repetitions; ++i) {
      barrier.Wait();
      const auto begun = Clock::now();
      work.call(thread);
      barrier.Wait();
      const double seconds = std::chrono::duration<double>(Clock::now() - begun).count();
      if (thread == 0 && i > 0) rates.push_back(work.amount * threads / seconds * 1e-9);
    }
  };
  std::vector<std::thread> others;
  for (int thread = 1; thread < threads; ++thread) others.emplace_back(run, thread);
  run(0);
  for (std::thread& other : others) other.join();
  std::sort(rates.begin(), rates.end());
  return rates;
}

double ReadBandwidth(int threads) { return Rates(ReadWork(threads), threads)[kRepetitions / 2]; }

void PrintLimits(int threads, bool only_read) {
  std::printf("\"%d\": {\"read\": %.2f", threads, ReadBandwidth(threads));
  if (!only_read) {
    std::vector<Work> works = VectorWorks();
    for (const Work& work : TileWorks()) works.push_back(work);
    for (const Work& work : works) {
      std::printf(", \"%s\": %.1f", work.name.c_str(), Rates(work, threads).back());
    }
  }
  std::printf("}");
}

/** The warm-up brings the files into memory. */
void PrintFiles(const std::vector<std::string>& paths, int threads) {
  const double rate =
      Rates(FileWork(paths, threads), threads, kFileRepetitions)[kFileRepetitions / 2];
  std::printf("{\"%d\": {\"files\": %.2f}}\n", threads, rate);
}

/** `1,2` as numbers; empty when one of them is none. */
std::vector<int> ThreadCounts(const std::string& text) {
  std::vector<int> counts;
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find(',', start), text.size());
    const int count = std::atoi(text.substr(start, end - start).c_str());
    if (count < 1) return {};
    counts.push_back(count);
    start = end + 1;
  }
  return counts;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc >= 3 ? argv[1] : "";
  const std::vector<int> counts = argc >= 3 ? ThreadCounts(argv[2]) : std::vector<int>{};
  if (what == "files" && counts.size() == 1 && argc > 3) {
    PrintFiles({argv + 3, argv + argc}, counts[0]);
    return 0;
  }
  if ((what != "all" && what != "read") || counts.empty() || argc > 3) {
    std::fprintf(stderr,
                 "usage: limits all|read THREADS[,THREADS...]\n"
                 "       limits files THREADS PATH...\n");
    return 2;
  }
  std::printf("{");
  for (size_t i = 0; i < counts.size(); ++i) {
    if (i > 0) std::printf(", ");
    PrintLimits(counts[i], what == "read");
  }
  std::printf("}\n");
  return 0;
}
