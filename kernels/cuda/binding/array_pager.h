#pragma once

#include <cstddef>
#include <deque>
#include <list>
#include <map>
#include <utility>

#include "cuda/binding/memory.h"

namespace llmkit::cuda {

class ArrayPager;

/// An array whose home is pinned memory of the host, and whose block is device memory only while it
/// visits the GPU: a trained weight, a gradient, a state of the optimizer.
class PagedArray {
 public:
  /// The home of a block that is on the device; it leaves when others need the room.
  PagedArray(ArrayPager& pager, Block& block, size_t bytes);
  ~PagedArray();
  PagedArray(const PagedArray&) = delete;
  PagedArray& operator=(const PagedArray&) = delete;

 private:
  friend class ArrayPager;
  /// Pinned memory, and an event of the last copy from or to it.
  struct Home {
    void* data = nullptr;
    cudaEvent_t copied = nullptr;
  };

  ArrayPager& pager_;
  Block& block_;  // empty while the array is away
  const size_t bytes_;
  Home home_;
  bool is_here_ = true;
  bool is_ahead_ = false;   // here before its use
  bool is_changed_ = true;  // its home does not have the values that are here
  bool will_change_ = false;
  bool is_awaited_ = true;  // kernels that are queued now come after the copy to here
  std::list<PagedArray*>::iterator place_;  // in the list of those that visit
};

/// Arrays that visit the GPU when they are used. Those used last stay, up to kPlaces times the
/// largest of them all; a changed one is copied back when it leaves. When one is used, those that
/// followed it the last time are copied already, on a stream of its own: as many as take no more
/// than the largest, so that small ones too keep that stream busy.
///
/// All arrays of a call are on the device together if they take no more than kPlaces - 2 times the
/// largest. Not for captured work: addresses change.
class ArrayPager {
 public:
  /// Four arrays of an update, what is on its way here and what is on its way back.
  static constexpr size_t kPlaces = 6;

  /// Readies an array for what is queued next.
  void bring_in(PagedArray& array);
  /// The next call that uses the array changes it.
  void will_change(PagedArray& array) { array.will_change_ = true; }

  /// Bytes of homes in use, of device memory for visits, and those of them that are not used yet.
  size_t host_bytes() const { return host_bytes_; }
  size_t device_bytes() const { return here_bytes_ + ahead_bytes_ + leaving_bytes_; }
  size_t ahead_bytes() const { return ahead_bytes_; }

 private:
  friend class PagedArray;
  /// Device memory that is being copied to the host.
  struct Leaving {
    Block block;
    size_t bytes;
    cudaEvent_t copied;
  };

  void add(PagedArray& array);
  void remove(PagedArray& array) noexcept;
  PagedArray::Home new_home(size_t bytes);
  void make_room(size_t bytes);
  void send_home(PagedArray& array);
  void let_leave();
  void leave_list(PagedArray& array) noexcept;
  void fetch(PagedArray& array);
  bool fetch_if_there_is_memory(PagedArray& array);
  void follow_stream();
  void learn(void* home);
  void forget_expected();
  void fetch_ahead();

  std::list<PagedArray*> here_;   // the one used last first
  std::list<PagedArray*> ahead_;  // here before their use, the one that is used next first
  std::list<Leaving> leaving_;    // the one that leaves first first
  /// Homes of arrays that are gone, by their bytes: each step of training needs the same again.
  std::multimap<size_t, PagedArray::Home> idle_homes_;
  std::map<void*, PagedArray*> arrays_;  // by home
  /// The home that was used after these two: one alone has other followers forward and backward.
  std::map<std::pair<void*, void*>, void*> followers_;
  void *last_used_ = nullptr, *used_before_ = nullptr;
  /// What is expected to be used next.
  struct Expected {
    void* home;
    size_t bytes;
  };
  std::deque<Expected> expected_;
  size_t expected_bytes_ = 0;
  cudaEvent_t queued_ = nullptr;
  /// Of arrays that are used or were, and of those that are ahead.
  size_t here_bytes_ = 0, ahead_bytes_ = 0;
  size_t leaving_bytes_ = 0, host_bytes_ = 0, largest_ = 0;
};

/// The pager of this process.
ArrayPager& array_pager();

}  // namespace llmkit::cuda
