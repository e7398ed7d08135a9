#include "base/parallel.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "base/available_cpus.h"

namespace llmkit {
namespace {

constexpr size_t kMaxThreads = 1024;
/// Looks at an atomic before a thread sleeps: about 30 microseconds, the gap between two ops.
constexpr int kSpins = 1500;

thread_local bool inside_job = false;

void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

size_t initial_thread_count() {
  const char* text = std::getenv("LLMKIT_THREADS");
  if (text == nullptr || *text == '\0') return std::min(available_cpus(), kMaxThreads);
  char* end = nullptr;
  const long count = std::strtol(text, &end, 10);
  if (*end == '\0' && count >= 1 && count <= static_cast<long>(kMaxThreads))
    return static_cast<size_t>(count);
  std::fprintf(stderr, "LLMKIT_THREADS must be a whole number from 1 to %zu, got '%s'\n",
               kMaxThreads, text);
  std::exit(2);
}

/// A loop whose ranges are handed out by a counter.
struct Job {
  size_t count, step;
  RangeFn run;
  const void* context;
  std::atomic<size_t> next{0};

  void work() {
    inside_job = true;
    for (size_t begin; (begin = next.fetch_add(step)) < count;)
      run(context, begin, std::min(begin + step, count));
    inside_job = false;
  }
};

/// Worker threads that join the job on offer. One is made for the process and never destroyed, so
/// that sleeping workers do not have to be woken at exit.
class Pool {
 public:
  static Pool& instance() {
    static Pool* const pool = new Pool;
    return *pool;
  }

  size_t threads() const { return threads_; }
  void set_threads(size_t count) { threads_ = std::min(std::max<size_t>(count, 1), kMaxThreads); }

  /// False when another thread has the pool.
  bool run(Job& job) {
    std::unique_lock<std::mutex> owner(busy_, std::try_to_lock);
    if (!owner.owns_lock()) return false;
    const size_t helpers = std::min(threads_.load(), (job.count + job.step - 1) / job.step) - 1;
    start_workers(helpers);
    offer(job, helpers);
    job.work();
    withdraw();
    return true;
  }

 private:
  void start_workers(size_t wanted) {
    if (workers_ >= wanted) return;
    // Signals are the main thread's business: a new thread inherits the mask.
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (; workers_ < wanted; ++workers_) std::thread([this] { serve(); }).detach();
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
  }

  void offer(Job& job, size_t helpers) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      job_ = &job;
      places_ = helpers;
      offers_.fetch_add(1);
    }
    if (sleepers_.load() > 0) wake_.notify_all();
  }

  /// Takes the job back and waits for those who joined.
  void withdraw() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      job_ = nullptr;
    }
    for (int i = 0; joined_.load() > 0; ++i)
      if (i < kSpins)
        pause_cpu();
      else
        std::this_thread::yield();
  }

  void serve() {
    for (uint64_t seen = 0;;) {
      seen = wait_for_offer(seen);
      Job* const job = join();
      if (job == nullptr) continue;
      job->work();
      joined_.fetch_sub(1);
    }
  }

  Job* join() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (job_ == nullptr || places_ == 0) return nullptr;
    --places_;
    joined_.fetch_add(1);
    return job_;
  }

  uint64_t wait_for_offer(uint64_t seen) {
    for (int i = 0; i < kSpins; ++i) {
      if (offers_.load() != seen) return offers_.load();
      pause_cpu();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    ++sleepers_;
    wake_.wait(lock, [&] { return offers_.load() != seen; });
    --sleepers_;
    return offers_.load();
  }

  std::mutex busy_;   // held by the thread whose job runs
  std::mutex mutex_;  // guards job_, places_ and the wait for an offer
  std::condition_variable wake_;
  std::atomic<size_t> threads_{initial_thread_count()};
  size_t workers_ = 0;
  Job* job_ = nullptr;
  size_t places_ = 0;
  std::atomic<uint64_t> offers_{0};
  std::atomic<size_t> sleepers_{0}, joined_{0};
};

}  // namespace

size_t thread_count() { return Pool::instance().threads(); }
void set_thread_count(size_t count) { Pool::instance().set_threads(count); }

void parallel_ranges(size_t count, size_t grain, RangeFn run, const void* context) {
  if (count == 0) return;
  const size_t threads = inside_job ? 1 : thread_count();
  grain = std::max<size_t>(grain, 1);
  if (threads > 1 && count > grain) {
    // Four ranges per thread: a thread that was held up leaves its share to the others.
    Job job{count, std::max(grain, (count + 4 * threads - 1) / (4 * threads)), run, context};
    if (Pool::instance().run(job)) return;
  }
  run(context, 0, count);
}

}  // namespace llmkit
