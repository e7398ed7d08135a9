#include "cuda/binding/array_pager.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

#include "cuda/binding/copy_stream.h"
#include "cuda/binding/error.h"
#include "cuda/binding/pinned.h"

namespace llmkit::cuda {
namespace {

constexpr const char* kOp = "arrays on the host";

}  // namespace

PagedArray::PagedArray(ArrayPager& pager, Block& block, size_t bytes)
    : pager_(pager), block_(block), bytes_(bytes) {
  pager_.add(*this);
}

PagedArray::~PagedArray() { pager_.remove(*this); }

PagedArray::Home ArrayPager::new_home(size_t bytes) {
  const auto [first, end] = idle_homes_.equal_range(bytes);
  if (first == end) return {pinned_memory(bytes), new_event(kOp)};
  // The one that was let go of last: arrays made in turn and let go of in the reverse order have
  // the same homes again in the next step, which followers_ are known by.
  const auto idle = std::prev(end);
  const PagedArray::Home home = idle->second;
  idle_homes_.erase(idle);
  return home;
}

void ArrayPager::add(PagedArray& array) {
  if (queued_ == nullptr) queued_ = new_event(kOp);
  array.home_ = new_home(array.bytes_);
  arrays_[array.home_.data] = &array;
  host_bytes_ += array.bytes_;
  largest_ = std::max(largest_, array.bytes_);
  make_room(array.bytes_);
  here_.push_front(&array);
  array.place_ = here_.begin();
  here_bytes_ += array.bytes_;
}

void ArrayPager::remove(PagedArray& array) noexcept {
  if (array.is_here_) {
    // A copy to the block may be on its way still; whoever has the memory next comes after it.
    cudaStreamWaitEvent(stream(), array.home_.copied, 0);
    leave_list(array);
    array.block_ = Block();
  }
  arrays_.erase(array.home_.data);
  host_bytes_ -= array.bytes_;
  idle_homes_.insert({array.bytes_, array.home_});
  if (!arrays_.empty()) return;
  cudaStreamSynchronize(copy_stream());
  for (const auto& each : idle_homes_) {
    cudaFreeHost(each.second.data);
    cudaEventDestroy(each.second.copied);
  }
  idle_homes_.clear();
  leaving_.clear();
  followers_.clear();
  forget_expected();
  leaving_bytes_ = largest_ = 0;
  last_used_ = used_before_ = nullptr;
}

/// What is queued next on the copies' stream comes after all that is queued on the kernels'.
void ArrayPager::follow_stream() {
  check(cudaEventRecord(queued_, stream()), kOp);
  check(cudaStreamWaitEvent(copy_stream(), queued_, 0), kOp);
}

void ArrayPager::let_leave() {
  const Leaving& first = leaving_.front();
  check(cudaStreamWaitEvent(stream(), first.copied, 0), kOp);
  leaving_bytes_ -= first.bytes;
  leaving_.pop_front();
}

void ArrayPager::leave_list(PagedArray& array) noexcept {
  (array.is_ahead_ ? ahead_ : here_).erase(array.place_);
  (array.is_ahead_ ? ahead_bytes_ : here_bytes_) -= array.bytes_;
  array.is_here_ = array.is_ahead_ = false;
}

void ArrayPager::send_home(PagedArray& array) {
  leave_list(array);
  if (!array.is_changed_ && array.is_awaited_) {
    array.block_ = Block();
    return;
  }
  if (array.is_changed_) {
    follow_stream();
    check(cudaMemcpyAsync(array.home_.data, array.block_.data(), array.bytes_,
                          cudaMemcpyDeviceToHost, copy_stream()),
          kOp);
    check(cudaEventRecord(array.home_.copied, copy_stream()), kOp);
  }
  leaving_.push_back({std::move(array.block_), array.bytes_, array.home_.copied});
  leaving_bytes_ += array.bytes_;
}

void ArrayPager::make_room(size_t bytes) {
  while (device_bytes() + bytes > kPlaces * largest_) {
    if (!leaving_.empty() && here_bytes_ + ahead_bytes_ + bytes <= (kPlaces - 1) * largest_)
      let_leave();
    else
      send_home(here_.empty() ? *ahead_.back() : *here_.back());
  }
}

void ArrayPager::fetch(PagedArray& array) {
  make_room(array.bytes_);
  array.block_ = common_pool().acquire(array.bytes_, kOp);
  // The memory may have had another use, which the kernels' stream knows of.
  follow_stream();
  check(cudaMemcpyAsync(array.block_.data(), array.home_.data, array.bytes_, cudaMemcpyHostToDevice,
                        copy_stream()),
        kOp);
  check(cudaEventRecord(array.home_.copied, copy_stream()), kOp);
  array.is_here_ = true;
  array.is_changed_ = array.is_awaited_ = false;
  array.is_ahead_ = true;
  ahead_.push_back(&array);
  array.place_ = std::prev(ahead_.end());
  ahead_bytes_ += array.bytes_;
}

/// For an array that the op at hand does not need: where memory is short it comes at its use.
bool ArrayPager::fetch_if_there_is_memory(PagedArray& array) {
  try {
    fetch(array);
  } catch (const Error& error) {
    if (std::strcmp(error.code(), kMemoryCode) != 0) throw;
    return false;
  }
  return true;
}

/// Arrays that are ahead stay for the time being, but are the first to leave.
void ArrayPager::forget_expected() {
  expected_.clear();
  expected_bytes_ = 0;
  for (PagedArray* const array : ahead_) array->is_ahead_ = false;
  here_.splice(here_.end(), ahead_);
  here_bytes_ += std::exchange(ahead_bytes_, 0);
}

void ArrayPager::learn(void* home) {
  if (last_used_ != nullptr) followers_[{used_before_, last_used_}] = home;
  used_before_ = std::exchange(last_used_, home);
  if (expected_.empty() || expected_.front().home != home) return forget_expected();
  expected_bytes_ -= expected_.front().bytes;
  expected_.pop_front();
}

void ArrayPager::fetch_ahead() {
  while (expected_.size() < arrays_.size()) {
    const size_t count = expected_.size();
    void* const last = count > 0 ? expected_[count - 1].home : last_used_;
    void* const before = count > 1   ? expected_[count - 2].home
                         : count > 0 ? last_used_
                                     : used_before_;
    const auto next = followers_.find({before, last});
    if (next == followers_.end()) return;
    const auto known = arrays_.find(next->second);
    if (known == arrays_.end()) return;
    PagedArray& array = *known->second;
    if (expected_bytes_ + array.bytes_ > largest_) return;
    expected_.push_back({next->second, array.bytes_});
    expected_bytes_ += array.bytes_;
    if (!array.is_here_ && !fetch_if_there_is_memory(array)) return;
  }
}

void ArrayPager::bring_in(PagedArray& array) {
  if (!array.is_here_) fetch(array);
  if (array.is_ahead_) {
    here_.splice(here_.begin(), ahead_, array.place_);
    here_bytes_ += array.bytes_;
    ahead_bytes_ -= array.bytes_;
    array.is_ahead_ = false;
  } else {
    here_.splice(here_.begin(), here_, array.place_);
  }
  if (!array.is_awaited_) check(cudaStreamWaitEvent(stream(), array.home_.copied, 0), kOp);
  array.is_awaited_ = true;
  array.is_changed_ = array.is_changed_ || array.will_change_;
  array.will_change_ = false;
  if (array.home_.data == last_used_) return;
  learn(array.home_.data);
  fetch_ahead();
}

ArrayPager& array_pager() {
  // Never ended: arrays that JavaScript lets go of at the end of the process come back to it.
  static auto* const pager = new ArrayPager;
  return *pager;
}

}  // namespace llmkit::cuda
