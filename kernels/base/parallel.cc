#include "base/parallel.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <thread>

#include "base/available_cpus.h"

namespace llmkit {
namespace {

constexpr size_t kMaxThreads = 1024;
/// Looks at an atomic with the processor paused between them, before others get the processor: a
/// few tens of microseconds, the gap between two ops.
constexpr int kSpins = 1000;
/// How long a worker without a job looks for the next one. Longer than what lies between two tokens
/// (sampling, text); a sleeping thread takes 50 microseconds to wake.
constexpr std::chrono::microseconds kAwake{1000};
/// The part of what is left of a share that is handed out at a time: large ranges first, and at the
/// end small ones, so that nobody waits long for the last.
constexpr size_t kPart = 4;

thread_local bool inside_job = false;
thread_local WaitingWork waiting_work = nullptr;

void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");  // "yield" does nothing on most cores
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

/// One thread's part of a loop, on a cache line of its own.
struct alignas(64) Share {
  std::atomic<size_t> next{0};
  size_t end = 0;
};

/// A loop cut into one contiguous share per thread: a thread reads one sequential stream, and the
/// same one each time the loop runs again. Who is done takes ranges of the others' shares.
class Loop {
 public:
  Loop() : shares_(new Share[kMaxThreads]) {}

  void set(size_t count, size_t grain, size_t threads, RangeFn run, const void* context) {
    run_ = run;
    context_ = context;
    threads_ = threads;
    least_ = (grain + kPart - 1) / kPart;
    for (size_t i = 0; i < threads; ++i) {
      shares_[i].next.store(i * count / threads, std::memory_order_relaxed);
      shares_[i].end = (i + 1) * count / threads;
    }
  }

  void work(size_t thread) const {
    inside_job = true;
    for (size_t i = 0; i < threads_; ++i) empty(shares_[(thread + i) % threads_]);
    inside_job = false;
  }

 private:
  void empty(Share& share) const {
    size_t begin = share.next.load(std::memory_order_relaxed);
    while (begin < share.end) {
      const size_t left = share.end - begin;
      const size_t end = begin + std::min(std::max(least_, left / kPart), left);
      if (!share.next.compare_exchange_weak(begin, end, std::memory_order_relaxed)) continue;
      run_(context_, begin, end);
      begin = share.next.load(std::memory_order_relaxed);
    }
  }

  const std::unique_ptr<Share[]> shares_;
  size_t threads_ = 0, least_ = 0;
  RangeFn run_ = nullptr;
  const void* context_ = nullptr;
};

/// Worker threads that join the loop on offer. One pool is made for the process and never
/// destroyed, so that sleeping workers do not have to be woken at exit.
class Pool {
 public:
  static Pool& instance() {
    static Pool* const pool = new Pool;
    return *pool;
  }

  size_t threads() const { return threads_.load(std::memory_order_relaxed); }
  void set_threads(size_t count) { threads_ = std::min(std::max<size_t>(count, 1), kMaxThreads); }

  /// False when another thread has the pool.
  bool run(size_t count, size_t grain, RangeFn run, const void* context) {
    if (busy_.exchange(true, std::memory_order_acquire)) return false;
    const size_t threads = std::min(this->threads(), count / grain);
    start_workers(threads - 1);
    loop_.set(count, grain, threads, run, context);
    offer(threads - 1);
    loop_.work(0);
    withdraw();
    busy_.store(false, std::memory_order_release);
    return true;
  }

 private:
  // What `state_` holds: the workers at work, how many may join, and the number of the offer.
  static constexpr uint64_t kCountMask = 0xffff;
  static constexpr int kPlacesShift = 16, kOfferShift = 32;
  static uint64_t working(uint64_t state) { return state & kCountMask; }
  static uint64_t places(uint64_t state) { return state >> kPlacesShift & kCountMask; }
  static uint64_t offer_of(uint64_t state) { return state >> kOfferShift; }

  void start_workers(size_t wanted) {
    if (workers_ >= wanted) return;
    // Signals are the main thread's business: a new thread inherits the mask.
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (workers_ < wanted) std::thread([this, place = ++workers_] { serve(place); }).detach();
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
  }

  void offer(size_t helpers) {
    const uint64_t next = offer_of(state_.load(std::memory_order_relaxed)) + 1;
    state_.store(next << kOfferShift | helpers << kPlacesShift);
    // Sequentially consistent, as in sleep(): one of both sees what the other wrote.
    if (sleepers_.load() == 0) return;
    { const std::lock_guard<std::mutex> lock(mutex_); }
    wake_.notify_all();
  }

  /// Takes the offer back and waits for those who joined.
  void withdraw() {
    uint64_t state = state_.fetch_and(~(kCountMask << kPlacesShift), std::memory_order_acquire);
    for (int i = 0; working(state) > 0; ++i) {
      if (i < kSpins)
        pause_cpu();
      else
        std::this_thread::yield();
      state = state_.load(std::memory_order_acquire);
    }
  }

  /// The life of worker `place`, 1 for the first.
  void serve(size_t place) {
    for (uint64_t seen = 0;;) {
      seen = wait_for_offer(seen);
      if (!join(place)) continue;
      loop_.work(place);
      state_.fetch_sub(1, std::memory_order_release);
    }
  }

  bool join(size_t place) {
    uint64_t state = state_.load(std::memory_order_relaxed);
    while (places(state) >= place)
      if (state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire)) return true;
    return false;
  }

  bool is_new(uint64_t& seen) const {
    const uint64_t offer = offer_of(state_.load());
    const bool changed = offer != seen;
    seen = offer;
    return changed;
  }

  /// Spins, then lets others have the processor, then sleeps. On a machine with more to do than
  /// processors, a yield takes long and so is soon followed by sleep.
  uint64_t wait_for_offer(uint64_t seen) {
    for (int i = 0; i < kSpins; ++i) {
      if (is_new(seen)) return seen;
      if (waiting_work != nullptr) waiting_work();
      pause_cpu();
    }
    const auto until = std::chrono::steady_clock::now() + kAwake;
    while (std::chrono::steady_clock::now() < until) {
      for (int i = 0; i < 16; ++i) {
        if (is_new(seen)) return seen;
        pause_cpu();
      }
      std::this_thread::yield();
    }
    return sleep(seen);
  }

  uint64_t sleep(uint64_t seen) {
    std::unique_lock<std::mutex> lock(mutex_);
    ++sleepers_;
    wake_.wait(lock, [&] { return is_new(seen); });
    --sleepers_;
    return seen;
  }

  std::atomic<bool> busy_{false};  // set by the thread whose loop runs
  size_t workers_ = 0;
  Loop loop_;
  alignas(64) std::atomic<uint64_t> state_{0};
  alignas(64) std::mutex mutex_;  // guards falling asleep
  std::condition_variable wake_;
  std::atomic<size_t> sleepers_{0};
  std::atomic<size_t> threads_{initial_thread_count()};
};

}  // namespace

size_t thread_count() { return Pool::instance().threads(); }
void set_thread_count(size_t count) { Pool::instance().set_threads(count); }

void while_waiting(WaitingWork work) { waiting_work = work; }

void parallel_ranges(size_t count, size_t grain, RangeFn run, const void* context) {
  if (count == 0) return;
  grain = std::max<size_t>(grain, 1);
  const bool alone = inside_job || count < 2 * grain || thread_count() == 1;
  if (alone || !Pool::instance().run(count, grain, run, context)) run(context, 0, count);
}

}  // namespace llmkit
