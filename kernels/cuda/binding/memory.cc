#include "cuda/binding/memory.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "cuda/binding/device.h"
#include "cuda/binding/error.h"

namespace llmkit::cuda {
namespace {

constexpr size_t kUnit = 512;        // bytes; sizes and addresses are multiples of it
constexpr size_t kExactClasses = 8;  // up to 4 KiB by the unit, above by eighths of an octave
/// What is in use and what waits for reuse may together exceed the peak use by a quarter, and free
/// blocks of so many bytes in all are kept whatever the peak.
constexpr size_t kSmallestCap = size_t{64} << 20;

unsigned log2_of(size_t value) { return 63u - static_cast<unsigned>(__builtin_clzll(value)); }

/// The class of a size and the bytes of its blocks.
struct ClassOf {
  explicit ClassOf(size_t bytes) {
    const size_t units = (bytes + kUnit - 1) / kUnit;
    if (units <= kExactClasses) {
      index = units;
      size = units * kUnit;
      return;
    }
    const unsigned octave = log2_of(units - 1);
    const size_t eighth = size_t{1} << (octave - 3);
    const size_t eighths = (units + eighth - 1) / eighth;  // 9 to 16
    index = (octave - 3) * kExactClasses + eighths;
    size = eighths * eighth * kUnit;
  }
  size_t index, size;
};

/// The bytes of a class's blocks.
size_t size_of_class(size_t index) {
  if (index <= kExactClasses) return index * kUnit;
  const size_t octave = (index - 1) / kExactClasses - 1;
  return ((index - octave * kExactClasses) << octave) * kUnit;
}

std::string in_words(size_t bytes) {
  const char* const units[] = {"bytes", "KiB", "MiB", "GiB"};
  size_t unit = 0;
  double value = static_cast<double>(bytes);
  for (; value >= 1024 && unit < 3; ++unit) value /= 1024;
  const std::string digits = std::to_string(value);
  return digits.substr(0, unit == 0 ? digits.find('.') : digits.find('.') + 2) + " " + units[unit];
}

bool capturing() {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  return cudaStreamIsCapturing(stream(), &status) == cudaSuccess &&
         status != cudaStreamCaptureStatusNone;
}

cudaMemPool_t driver_pool() {
  static const cudaMemPool_t pool = [] {
    cudaMemPool_t made = nullptr;
    device();
    check(cudaDeviceGetDefaultMemPool(&made, 0), "the memory pool");
    uint64_t keep_all = UINT64_MAX;
    check(cudaMemPoolSetAttribute(made, cudaMemPoolAttrReleaseThreshold, &keep_all),
          "the memory pool");
    return made;
  }();
  return pool;
}

/// Bytes that all pools have of the driver, and the most they may have.
size_t held_bytes = 0;
size_t most_held_bytes = SIZE_MAX;
size_t peak_use_bytes = 0;

cudaError_t take_from_driver(void** data, size_t bytes) {
  if (bytes > most_held_bytes || held_bytes > most_held_bytes - bytes)
    return cudaErrorMemoryAllocation;
  const cudaError_t error = cudaMallocAsync(data, bytes, stream());
  if (error == cudaSuccess) held_bytes += bytes;
  return error;
}

void give_to_driver(void* data, size_t bytes) {
  cudaFreeAsync(data, stream());
  held_bytes -= bytes;
}

[[noreturn]] void out_of_memory(size_t bytes, const char* op) {
  const PoolUse use = common_pool().use();
  throw Error(kMemoryCode,
              std::string(op) + ": no memory on the GPU for " + in_words(bytes) + ": of " +
                  in_words(std::min(device().memory_bytes, most_held_bytes)) + ", " +
                  in_words(usable_device_bytes()) + " are free; llmkit's arrays and weights take " +
                  in_words(use.in_use) + " (the largest " + in_words(use.largest) +
                  "); make the batch or the length smaller, use --compute bf16, a 4-bit model, "
                  "gradient checkpointing, --device-map auto, or end what else runs on the GPU");
}

std::function<bool()>& spare_release() {
  static auto* const release = new std::function<bool()>();
  return *release;
}

bool release_spare() { return spare_release() != nullptr && spare_release()(); }

std::shared_ptr<BlockPool>& pool_in_use() {
  static std::shared_ptr<BlockPool> pool;
  return pool;
}

const std::shared_ptr<BlockPool>& shared_common_pool() {
  // Never ended: arrays that JavaScript lets go of at the end of the process come back to it.
  static auto* const pool =
      new std::shared_ptr<BlockPool>(std::make_shared<BlockPool>(BlockPool::Kind::kCommon));
  return *pool;
}

}  // namespace

cudaStream_t stream() {
  static const cudaStream_t made = [] {
    cudaStream_t result = nullptr;
    device();
    const cudaError_t error = cudaStreamCreateWithFlags(&result, cudaStreamNonBlocking);
    if (error != cudaSuccess)
      throw Error(kUnusableCode, device().name + " does not start: " + cudaGetErrorString(error));
    return result;
  }();
  return made;
}

Block::~Block() {
  if (pool_ != nullptr) pool_->release(data_, size_class_);
}

BlockPool::~BlockPool() {
  for (size_t i = 0; i < classes_.size(); ++i)
    for (void* const data : classes_[i].free) give_to_driver(data, size_of_class(i));
}

Block BlockPool::acquire(size_t bytes, const char* op) {
  if (bytes == 0) return {};
  const ClassOf wanted(bytes);
  if (classes_.size() <= wanted.index) classes_.resize(wanted.index + 1);
  SizeClass& each = classes_[wanted.index];
  void* data = nullptr;
  if (!each.free.empty()) {
    data = each.free.back();
    each.free.pop_back();
    free_bytes_ -= wanted.size;
  } else {
    data = grow(wanted.size, op);
  }
  each.last_use = ++uses_;
  ++each.in_use;
  in_use_bytes_ += wanted.size;
  peak_bytes_ = std::max(peak_bytes_, in_use_bytes_);
  peak_use_bytes = std::max(peak_use_bytes, used_device_bytes());
  return Block(shared_from_this(), data, wanted.index);
}

void* BlockPool::grow(size_t bytes, const char* op) {
  if (kind_ == Kind::kArena && capturing())
    throw Error(kDeviceCode, std::string(op) +
                                 ": the captured step needs more memory than its "
                                 "first run");
  driver_pool();
  void* data = nullptr;
  cudaError_t error = take_from_driver(&data, bytes);
  bool short_of = error == cudaErrorMemoryAllocation && !capturing();
  while (short_of) {
    cudaGetLastError();
    common_pool().empty();
    error = take_from_driver(&data, bytes);
    short_of = error == cudaErrorMemoryAllocation && release_spare();
  }
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    out_of_memory(bytes, op);
  }
  check(error, op);
  return data;
}

void BlockPool::release(void* data, size_t size_class) noexcept {
  SizeClass& each = classes_[size_class];
  const size_t size = size_of_class(size_class);
  each.free.push_back(data);
  --each.in_use;
  in_use_bytes_ -= size;
  free_bytes_ += size;
  if (kind_ == Kind::kArena) return;
  const size_t most = peak_bytes_ + peak_bytes_ / 4;
  const size_t cap = std::max(most - in_use_bytes_, kSmallestCap);
  if (free_bytes_ <= cap || capturing()) return;
  while (free_bytes_ > cap) drop_stalest();
}

void BlockPool::drop_stalest() {
  size_t stalest = 0;
  for (size_t i = 0; i < classes_.size(); ++i)
    if (!classes_[i].free.empty() &&
        (classes_[stalest].free.empty() || classes_[i].last_use < classes_[stalest].last_use))
      stalest = i;
  give_to_driver(classes_[stalest].free.back(), size_of_class(stalest));
  classes_[stalest].free.pop_back();
  free_bytes_ -= size_of_class(stalest);
}

PoolUse BlockPool::use() const {
  PoolUse use = {in_use_bytes_, free_bytes_, peak_bytes_, 0};
  for (size_t i = 0; i < classes_.size(); ++i)
    if (classes_[i].in_use > 0) use.largest = size_of_class(i);
  return use;
}

void BlockPool::empty() {
  if (kind_ == Kind::kArena || capturing()) return;
  while (free_bytes_ > 0) drop_stalest();
  cudaStreamSynchronize(stream());
  cudaMemPoolTrimTo(driver_pool(), 0);
}

void limit_device_memory(size_t bytes) { most_held_bytes = bytes; }

void release_when_short(std::function<bool()> release) { spare_release() = std::move(release); }

size_t used_device_bytes() { return held_bytes - common_pool().free_bytes(); }

size_t peak_device_bytes() { return peak_use_bytes; }

size_t usable_device_bytes() {
  const size_t idle = common_pool().free_bytes(), used = used_device_bytes();
  const size_t allowed = used < most_held_bytes ? most_held_bytes - used : 0;
  return std::min(free_device_bytes() + idle, allowed);
}

BlockPool& common_pool() { return *shared_common_pool(); }

std::shared_ptr<BlockPool> use_pool(std::shared_ptr<BlockPool> pool) {
  std::swap(pool_in_use(), pool);
  return pool;
}

Block device_memory(size_t bytes, const char* op) {
  BlockPool* const pool = pool_in_use().get();
  return (pool != nullptr ? *pool : common_pool()).acquire(bytes, op);
}

Block on_device(const void* from, size_t bytes, const char* op) {
  Block block = device_memory(bytes, op);
  copy_to_device(block.data(), from, bytes);
  return block;
}

}  // namespace llmkit::cuda
