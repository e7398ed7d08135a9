#include "cuda/binding/weight_pager.h"

#include <algorithm>

#include "cuda/binding/copy_stream.h"
#include "cuda/binding/error.h"
#include "cuda/binding/held_weight.h"
#include "cuda/binding/pinned.h"

namespace llmkit::cuda {
namespace {

constexpr const char* kOp = "weights on the host";
constexpr size_t kAlignment = 512;

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

/// A piece of memory.
struct Piece {
  const char* data;
  size_t bytes;
};

template <class T>
void move_pointer(const T*& pointer, Piece from, const char* to) {
  const auto offset = reinterpret_cast<uintptr_t>(pointer) - reinterpret_cast<uintptr_t>(from.data);
  if (pointer != nullptr && offset < from.bytes)
    pointer = static_cast<const T*>(static_cast<const void*>(to + offset));
}

/// The pointers of a weight that point into a piece of memory point to the same place of another.
void move_pointers(HeldWeight& weight, Piece from, const char* to) {
  WeightView& view = weight.view;
  move_pointer(view.codes, from, to);
  move_pointer(view.scales, from, to);
  move_pointer(view.zeros, from, to);
  move_pointer(view.nested.codes, from, to);
  move_pointer(view.nested.map, from, to);
  move_pointer(view.nested.absmax, from, to);
  if (weight.packed == nullptr) return;
  move_pointer(weight.packed->codes, from, to);
  move_pointer(weight.packed->scales, from, to);
  move_pointer(weight.packed->zeros, from, to);
}

}  // namespace

PagedBytes::PagedBytes(WeightPager& pager, size_t group, size_t bytes)
    : pager_(pager), group_(group), bytes_(bytes) {
  place_ = host_ = static_cast<char*>(pinned_memory(bytes));
  pager_.add(*this);
}

PagedBytes::~PagedBytes() {
  pager_.remove(*this);
  cudaFreeHost(host_);
}

void WeightPager::add(PagedBytes& bytes) {
  Group& group = groups_[bytes.group_];
  // A group that grows may be on its way already, without its new member.
  drop_slots();
  bytes.offset_ = group.bytes;
  group.members.push_back(&bytes);
  group.bytes += aligned(bytes.bytes_);
  slot_bytes_ = std::max(slot_bytes_, group.bytes);
  host_bytes_ += bytes.bytes_;
}

void WeightPager::remove(PagedBytes& bytes) noexcept {
  drop_slots();
  Group& group = groups_[bytes.group_];
  group.members.erase(std::find(group.members.begin(), group.members.end(), &bytes));
  host_bytes_ -= bytes.bytes_;
  if (!group.members.empty()) return;
  groups_.erase(bytes.group_);
  followers_.clear();
  slot_bytes_ = 0;
  for (const auto& each : groups_) slot_bytes_ = std::max(slot_bytes_, each.second.bytes);
}

size_t WeightPager::device_bytes() const { return has_slots_ ? slots_.size() * slot_bytes_ : 0; }

void WeightPager::make_slots() {
  if (has_slots_) return;
  has_slots_ = true;
  for (Slot& slot : slots_) {
    slot.memory = common_pool().acquire(slot_bytes_, kOp);
    slot.copied = new_event(kOp);
    slot.released = new_event(kOp);
    // The memory may have had another use, which the stream knows of.
    check(cudaEventRecord(slot.released, stream()), kOp);
  }
}

void WeightPager::drop_slots() noexcept {
  if (!has_slots_) return;
  cudaStreamSynchronize(copy_stream());
  for (Slot& slot : slots_) {
    cudaEventDestroy(slot.copied);
    cudaEventDestroy(slot.released);
    slot = Slot();
  }
  has_slots_ = false;
  previous_ = current_ = kNone;
}

WeightPager::Slot* WeightPager::slot_of(size_t group) {
  for (Slot& slot : slots_)
    if (slot.group == group) return &slot;
  return nullptr;
}

WeightPager::Slot& WeightPager::free_slot() {
  return slots_[0].group == current_ && current_ != kNone ? slots_[1] : slots_[0];
}

void WeightPager::copy_group(size_t group, Slot& slot) {
  slot.group = group;
  check(cudaStreamWaitEvent(copy_stream(), slot.released, 0), kOp);
  for (const PagedBytes* const each : groups_[group].members)
    check(cudaMemcpyAsync(slot.memory.as<char>() + each->offset_, each->host_, each->bytes_,
                          cudaMemcpyHostToDevice, copy_stream()),
          kOp);
  check(cudaEventRecord(slot.copied, copy_stream()), kOp);
}

size_t WeightPager::expected_after(size_t previous, size_t group) const {
  const auto known = followers_.find({previous, group});
  if (known != followers_.end()) return known->second;
  const auto above = groups_.upper_bound(group);
  return above == groups_.end() ? groups_.begin()->first : above->first;
}

void WeightPager::switch_to(size_t group) {
  make_slots();
  Slot* const left = current_ == kNone ? nullptr : slot_of(current_);
  // All that uses the group that is left has been queued by now.
  if (left != nullptr) check(cudaEventRecord(left->released, stream()), kOp);
  Slot* slot = slot_of(group);
  if (slot == nullptr) {
    slot = &free_slot();
    copy_group(group, *slot);
  }
  check(cudaStreamWaitEvent(stream(), slot->copied, 0), kOp);
  if (current_ != kNone) followers_[{previous_, current_}] = group;
  previous_ = current_;
  current_ = group;
  const size_t next = expected_after(previous_, group);
  if (slot_of(next) == nullptr) copy_group(next, free_slot());
}

void WeightPager::page_out(HeldWeight& weight, size_t group) {
  size_t bytes = 0;
  for (const HeldPart& part : weight.parts) bytes += aligned(part.bytes);
  auto paged = std::make_unique<PagedBytes>(*this, group, bytes);
  char* to = paged->host_;
  for (const HeldPart& part : weight.parts) {
    check(cudaMemcpyAsync(to, part.block.data(), part.bytes, cudaMemcpyDeviceToHost, stream()),
          kOp);
    move_pointers(weight, {part.block.as<char>(), part.bytes}, to);
    to += aligned(part.bytes);
  }
  check(cudaStreamSynchronize(stream()), kOp);
  weight.parts.clear();
  weight.paged = std::move(paged);
}

void WeightPager::bring_in(HeldWeight& weight) {
  PagedBytes& paged = *weight.paged;
  if (paged.group_ != current_) switch_to(paged.group_);
  char* const place = slot_of(current_)->memory.as<char>() + paged.offset_;
  move_pointers(weight, {paged.place_, paged.bytes_}, place);
  paged.place_ = place;
}

WeightPager& weight_pager() {
  // Never ended: weights that JavaScript lets go of at the end of the process come back to it.
  static auto* const pager = new WeightPager;
  return *pager;
}

}  // namespace llmkit::cuda
