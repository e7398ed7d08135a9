#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "cuda/binding/memory.h"

namespace llmkit::cuda {

struct HeldWeight;
class WeightPager;

/// The bytes of a weight that stays on the host.
class PagedBytes {
 public:
  PagedBytes(WeightPager& pager, size_t group, size_t bytes);
  ~PagedBytes();
  PagedBytes(const PagedBytes&) = delete;
  PagedBytes& operator=(const PagedBytes&) = delete;

 private:
  friend class WeightPager;
  WeightPager& pager_;
  const size_t group_, bytes_;
  size_t offset_ = 0;      // in the memory that its group visits
  char* host_ = nullptr;   // pinned
  char* place_ = nullptr;  // where the weight's pointers point: to host_ or to device memory
};

/// Weights that stay in pinned memory of the host and visit the GPU while they are used. Those of a
/// group (a layer) come and go together, into one of two pieces of device memory: while a group is
/// used, the next one is copied on a stream of its own. Which one is next is learned: the group
/// that followed the last time, else the one above. So layers come ahead of their use in both
/// directions, forward and backward.
///
/// An op uses weights of one group only. Not for captured work: addresses change.
class WeightPager {
 public:
  /// Moves the memory of a weight to the host.
  void page_out(HeldWeight& weight, size_t group);
  /// Readies a paged weight for what is queued next: its pointers are right until a weight of
  /// another group is used.
  void bring_in(HeldWeight& weight);

  /// Bytes on the host, and of device memory for visits.
  size_t host_bytes() const { return host_bytes_; }
  size_t device_bytes() const;

 private:
  friend class PagedBytes;
  static constexpr size_t kNone = static_cast<size_t>(-1);

  struct Group {
    std::vector<PagedBytes*> members;
    size_t bytes = 0;
  };
  /// Device memory that a group visits.
  struct Slot {
    Block memory;
    size_t group = kNone;
    cudaEvent_t copied = nullptr;    // all of the group is there
    cudaEvent_t released = nullptr;  // what used the group is done
  };

  void add(PagedBytes& bytes);
  void remove(PagedBytes& bytes) noexcept;
  void make_slots();
  void drop_slots() noexcept;
  Slot* slot_of(size_t group);
  Slot& free_slot();
  void copy_group(size_t group, Slot& slot);
  void switch_to(size_t group);
  size_t expected_after(size_t previous, size_t group) const;

  std::map<size_t, Group> groups_;
  std::map<std::pair<size_t, size_t>, size_t> followers_;
  std::array<Slot, 2> slots_;
  bool has_slots_ = false;
  size_t slot_bytes_ = 0, host_bytes_ = 0;
  size_t previous_ = kNone, current_ = kNone;
};

/// The pager of this process.
WeightPager& weight_pager();

}  // namespace llmkit::cuda
