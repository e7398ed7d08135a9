#include "cuda/emulator/block.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cuda/emulator/schedule.h"
#include "cuda/emulator/shared_barriers.h"
#include "cuda/emulator/shared_memory.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace llmkit::cuda::emulator {

namespace {

constexpr unsigned kLanes = 32, kMaxWarps = 32;

/// Lanes that wait for one another.
struct Meeting {
  unsigned mask, arrived;
  Together together;
  Site site;
};

struct Warp {
  unsigned lanes = 0;   // that exist
  unsigned left = 0;    // of them
  unsigned waited = 0;  // of them, for their inputs
  std::vector<Meeting> meetings;
  void* payloads[kLanes];
};

/// The lanes of a warp that can run: from their beginning, or on.
struct Runnable {
  unsigned fresh = 0, ready = 0;
  unsigned any() const { return fresh | ready; }
};

struct Fiber {
  explicit Fiber(void (*entry)()) : context(entry) {}
  Context context;
};

/// The block that runs. There is one at a time, and its threads take turns on one thread of the
/// machine: a thread runs until it waits for others or leaves.
class Block {
 public:
  void begin(const Work& work);
  void run_threads();
  void end() { work_ = nullptr; }
  bool next_thread();
  void meet(unsigned mask, Together together, void* payload, Site site);
  int barrier(bool predicate, Site site);
  void note_wait() { warp().waited |= 1u << current_ % kLanes; }
  Copies& copies();
  unsigned current() const { return current_; }
  /// The running thread stops until it is made ready.
  void wait();
  void make_ready(unsigned thread) { runnable_[thread / kLanes].ready |= 1u << thread % kLanes; }
  [[noreturn]] void fail(const char* format, va_list arguments);

 private:
  static void fiber_main();
  void run_until_none_is_fresh();
  void leave();
  void release_barrier();
  int next();
  bool is_fresh(unsigned thread) const;
  void run_here(unsigned thread);
  void take(unsigned thread);
  void list_waiting() const;
  void check_members(const Warp& warp, unsigned mask, unsigned lane, Site site) const;
  Warp& warp() { return warps_[current_ / kLanes]; }

  const Work* work_ = nullptr;
  unsigned threads_ = 0, warp_count_ = 0, alive_ = 0;
  Runnable runnable_[kMaxWarps];
  Warp warps_[kMaxWarps];
  std::vector<uint3> indices_;
  std::vector<Copies> copies_;
  bool copied_ = false;

  unsigned current_ = 0;
  Context main_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;
  std::vector<Fiber*> fiber_of_;
  Fiber* running_ = nullptr;

  struct Barrier {
    unsigned arrived = 0;
    unsigned waiting[kMaxWarps] = {};
    int sum = 0;
    Site site;
    unsigned round = 0;
    int results[2] = {};  // of this round and the one before, which some have yet to read
  } barrier_;
};

Block block;

void Block::begin(const Work& work) {
  work_ = &work;
  const dim3 shape = work.block;
  threads_ = alive_ = shape.x * shape.y * shape.z;
  warp_count_ = (threads_ + kLanes - 1) / kLanes;
  if (blockDim.x != shape.x || blockDim.y != shape.y || blockDim.z != shape.z ||
      indices_.size() != threads_) {
    indices_.clear();
    for (unsigned z = 0; z < shape.z; ++z)
      for (unsigned y = 0; y < shape.y; ++y)
        for (unsigned x = 0; x < shape.x; ++x) indices_.push_back({x, y, z});
    blockDim = shape;
    copies_.resize(threads_);
    fiber_of_.assign(threads_, nullptr);
  }
  for (unsigned w = 0; w < warp_count_; ++w) {
    const unsigned count = threads_ - w * kLanes;
    warps_[w].lanes = count >= kLanes ? ~0u : (1u << count) - 1;
    warps_[w].left = warps_[w].waited = 0;
    runnable_[w] = {warps_[w].lanes, 0};
  }
  if (copied_) copies_.assign(threads_, Copies());
  copied_ = false;
}

Copies& Block::copies() {
  copied_ = true;
  return copies_[current_];
}

/// The thread that goes on: of the same warp while one can, so that its memory stays near.
int Block::next() {
  unsigned w = current_ / kLanes;
  if (runnable_[w].any() == 0 || schedule_changes_warp()) {
    unsigned warps = 0;
    for (unsigned i = 0; i < warp_count_; ++i) warps |= (runnable_[i].any() != 0 ? 1u : 0u) << i;
    if (warps == 0) return shared_barriers().land_all() ? next() : -1;
    w = pick(warps);
  }
  return static_cast<int>(w * kLanes + pick(runnable_[w].any()));
}

bool Block::is_fresh(unsigned thread) const {
  return runnable_[thread / kLanes].fresh >> thread % kLanes & 1;
}

/// Makes a fresh thread the running one, on the fiber that runs.
void Block::run_here(unsigned thread) {
  runnable_[thread / kLanes].fresh &= ~(1u << thread % kLanes);
  current_ = thread;
  threadIdx = indices_[thread];
  fiber_of_[thread] = running_;
}

/// Makes it the running thread, on its own fiber.
void Block::take(unsigned thread) {
  if (!is_fresh(thread)) {
    runnable_[thread / kLanes].ready &= ~(1u << thread % kLanes);
    current_ = thread;
    threadIdx = indices_[thread];
    running_ = fiber_of_[thread];
    return;
  }
  if (idle_.empty()) {
    fibers_.push_back(std::make_unique<Fiber>(&Block::fiber_main));
    idle_.push_back(fibers_.back().get());
  }
  running_ = idle_.back();
  idle_.pop_back();
  run_here(thread);
}

void Block::run_threads() {
  current_ = 0;
  take(static_cast<unsigned>(next()));
  main_.switch_to(running_->context);
}

/// The running thread has come to its end. Whether a fresh one was made the running one; otherwise
/// one that waited was, or none is left.
bool Block::next_thread() {
  leave();
  if (alive_ == 0) return false;
  const int thread = next();
  if (thread < 0) list_waiting();
  if (is_fresh(static_cast<unsigned>(thread))) {
    run_here(static_cast<unsigned>(thread));
    return true;
  }
  take(static_cast<unsigned>(thread));
  return false;
}

void Block::fiber_main() {
  for (;;) block.run_until_none_is_fresh();
}

void Block::run_until_none_is_fresh() {
  Fiber* const self = running_;
  work_->threads();
  idle_.push_back(self);
  self->context.switch_to(alive_ == 0 ? main_ : running_->context);
}

void Block::leave() {
  Warp& w = warp();
  const unsigned bit = 1u << current_ % kLanes;
  w.left |= bit;
  --alive_;
  if (work_->early && !(w.waited & bit))
    emulator::fail("launched early, and the thread has not waited for its inputs");
  for (const Meeting& meeting : w.meetings)
    if (meeting.mask & bit)
      emulator::fail("the thread has left, but lanes wait for it at %s:%d", meeting.site.file,
                     meeting.site.line);
  if (barrier_.arrived > 0)
    emulator::fail("the thread has left, but others wait for it at the barrier of %s:%d",
                   barrier_.site.file, barrier_.site.line);
}

void Block::wait() {
  Fiber* const self = running_;
  const int thread = next();
  if (thread < 0) list_waiting();
  take(static_cast<unsigned>(thread));
  if (running_ != self) self->context.switch_to(running_->context);
}

void Block::check_members(const Warp& warp, unsigned mask, unsigned lane, Site site) const {
  const char* const problem = !(mask & 1u << lane)   ? "the mask leaves out the lane itself"
                              : (mask & ~warp.lanes) ? "the mask names lanes that do not exist"
                              : (mask & warp.left)   ? "the mask names lanes that have left"
                                                     : nullptr;
  if (problem != nullptr)
    emulator::fail("%s:%d: %s (mask %#x)", site.file, site.line, problem, mask);
}

void Block::meet(unsigned mask, Together together, void* payload, Site site) {
  Warp& w = warp();
  const unsigned lane = current_ % kLanes;
  check_members(w, mask, lane, site);
  w.payloads[lane] = payload;
  size_t i = 0;
  while (i < w.meetings.size() && w.meetings[i].mask != mask) ++i;
  if (i == w.meetings.size()) w.meetings.push_back({mask, 0, together, site});
  Meeting& meeting = w.meetings[i];
  if (meeting.together != together || !(meeting.site == site))
    emulator::fail("%s:%d: other lanes of the mask %#x wait at %s:%d", site.file, site.line, mask,
                   meeting.site.file, meeting.site.line);
  meeting.arrived |= 1u << lane;
  if (meeting.arrived != mask) return wait();
  together(w.payloads, mask);
  runnable_[current_ / kLanes].ready |= mask & ~(1u << lane);
  w.meetings.erase(w.meetings.begin() + static_cast<ptrdiff_t>(i));
}

int Block::barrier(bool predicate, Site site) {
  if (alive_ != threads_)
    emulator::fail("%s:%d: a barrier after %u threads have left", site.file, site.line,
                   threads_ - alive_);
  if (barrier_.arrived > 0 && !(barrier_.site == site))
    emulator::fail("%s:%d: other threads wait at the barrier of %s:%d", site.file, site.line,
                   barrier_.site.file, barrier_.site.line);
  barrier_.site = site;
  barrier_.sum += predicate;
  barrier_.waiting[current_ / kLanes] |= 1u << current_ % kLanes;
  const unsigned round = barrier_.round;
  if (++barrier_.arrived == threads_)
    release_barrier();
  else
    wait();
  return barrier_.results[round & 1];
}

void Block::release_barrier() {
  barrier_.results[barrier_.round++ & 1] = barrier_.sum;
  barrier_.arrived = 0;
  barrier_.sum = 0;
  for (unsigned w = 0; w < warp_count_; ++w) {
    runnable_[w].ready |= barrier_.waiting[w];
    barrier_.waiting[w] = 0;
  }
  runnable_[current_ / kLanes].ready &= ~(1u << current_ % kLanes);
}

/// Says where everybody waits, and ends the process.
void Block::list_waiting() const {
  if (barrier_.arrived > 0)
    std::fprintf(stderr, "  %u of %u threads wait at the barrier of %s:%d\n", barrier_.arrived,
                 threads_, barrier_.site.file, barrier_.site.line);
  for (unsigned w = 0; w < warp_count_; ++w)
    for (const Meeting& meeting : warps_[w].meetings)
      std::fprintf(stderr, "  warp %u: lanes %#x of %#x wait at %s:%d\n", w, meeting.arrived,
                   meeting.mask, meeting.site.file, meeting.site.line);
  shared_barriers().list_waiting();
  emulator::fail("the threads wait for one another");
}

void Block::fail(const char* format, va_list arguments) {
  std::fputs("emulator: ", stderr);
  if (work_ != nullptr)
    std::fprintf(stderr,
                 "block (%u, %u, %u), thread (%u, %u, %u) of the launch at %s:%d: ", blockIdx.x,
                 blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z, work_->site.file,
                 work_->site.line);
  std::vfprintf(stderr, format, arguments);
  std::fputc('\n', stderr);
  std::abort();
}

uint3 index_of(size_t i, dim3 shape) {
  return {static_cast<unsigned>(i % shape.x), static_cast<unsigned>(i / shape.x % shape.y),
          static_cast<unsigned>(i / shape.x / shape.y)};
}

}  // namespace

void run(const Work& work) {
  const size_t blocks = size_t{work.grid.x} * work.grid.y * work.grid.z;
  gridDim = work.grid;
  start_schedule(blocks);
  SharedMemory& shared = shared_memory();
  shared.begin_launch(work.kernel, work.shared_bytes);
  for (size_t i = 0; i < blocks; ++i) {
    blockIdx = index_of(block_in_turn(i), work.grid);
    shared.begin_block();
    shared_barriers().begin_block();
    block.begin(work);
    block.run_threads();
    shared_barriers().end_block();
    shared.end_block();
  }
  block.end();
}

bool next_thread() { return block.next_thread(); }

void meet(unsigned mask, Together together, void* payload, Site site) {
  block.meet(mask, together, payload, site);
}

void note_wait() { block.note_wait(); }

unsigned thread_of_block() { return block.current(); }
void wait_until_ready() { block.wait(); }
void make_ready(unsigned thread) { block.make_ready(thread); }

int barrier(bool predicate, Site site) { return block.barrier(predicate, site); }

Copies& copies_of_thread() { return block.copies(); }

void fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  block.fail(format, arguments);
}

}  // namespace llmkit::cuda::emulator
