#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "cuda/base/cuda.h"

namespace llmkit::cuda {

/// The one stream of this addon: everything runs on it, in order.
cudaStream_t stream();

class BlockPool;

/// Device memory of a pool, aligned to 512 bytes, given back at the end of its life. Work that is
/// queued by then may still use it: its next owner's work comes after it on the stream.
class Block {
 public:
  Block() = default;
  Block(std::shared_ptr<BlockPool> pool, void* data, size_t size_class)
      : pool_(std::move(pool)), data_(data), size_class_(size_class) {}
  Block(Block&& other) noexcept { swap(other); }
  Block& operator=(Block&& other) noexcept {
    Block(std::move(other)).swap(*this);
    return *this;
  }
  ~Block();

  void* data() const { return data_; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void swap(Block& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(data_, other.data_);
    std::swap(size_class_, other.size_class_);
  }

  std::shared_ptr<BlockPool> pool_;
  void* data_ = nullptr;
  size_t size_class_ = 0;
};

/// Bytes of a pool's blocks.
struct PoolUse {
  size_t in_use = 0;
  size_t free = 0;
  size_t peak = 0;     // the most that were in use
  size_t largest = 0;  // of the blocks in use
};

/// Blocks of device memory by size, which are used again instead of being given back to the driver.
/// What waits for reuse is bounded by the largest use so far. Only the JavaScript thread uses it.
///
/// A pool of its own serves a captured graph as its arena (see use_pool): the addresses are part of
/// the graph, so the blocks must stay while the graph lives. It keeps all it ever had; the warm-up
/// run of the step fills it, so that the captured run finds a free block for everything. Its blocks
/// keep the pool alive.
class BlockPool : public std::enable_shared_from_this<BlockPool> {
 public:
  /// kCommon gives back what it does not need; kArena keeps it.
  enum class Kind { kCommon, kArena };
  explicit BlockPool(Kind kind) : kind_(kind) {}
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  /// Throws Error where there is no memory, or where an arena would have to grow in a capture.
  Block acquire(size_t bytes, const char* op);
  PoolUse use() const;
  size_t free_bytes() const { return free_bytes_; }
  /// Gives the free blocks back to the driver; an arena keeps its own.
  void empty();

 private:
  friend class Block;
  struct SizeClass {
    std::vector<void*> free;
    size_t in_use = 0;
    uint64_t last_use = 0;
  };

  void release(void* data, size_t size_class) noexcept;
  void* grow(size_t bytes, const char* op);
  void drop_stalest();

  const Kind kind_;
  std::vector<SizeClass> classes_;
  uint64_t uses_ = 0;
  size_t in_use_bytes_ = 0, free_bytes_ = 0, peak_bytes_ = 0;
};

/// Pools take no more than this from the driver, all of them together.
void limit_device_memory(size_t bytes);
/// What is asked, before memory that is not there is an error, to let go of something that waits
/// for reuse; false: there is no more. Not in a capture, in which nothing may be freed.
void release_when_short(std::function<bool()> release);
/// Bytes of all pools that are in use, what an arena keeps for its graph among them, and the most
/// they ever were.
size_t used_device_bytes();
size_t peak_device_bytes();
/// Bytes that pools may still take, and what waits in the common one for reuse.
size_t usable_device_bytes();

/// The pool that blocks come from unless an arena is in use.
BlockPool& common_pool();
/// Blocks come from this pool from now on; null: from the common one. Returns the one before.
std::shared_ptr<BlockPool> use_pool(std::shared_ptr<BlockPool> pool);

/// Device memory of any content, from the pool in use; `op` is named where there is none. No bytes
/// give a null pointer.
Block device_memory(size_t bytes, const char* op);

/// The memory that a launcher works in. It may be let go of as soon as the launcher has returned.
using Scratch = Block;
inline Scratch scratch(size_t bytes) { return device_memory(bytes, "scratch"); }

/// Queues a copy of host memory, which may change as soon as this returns. Throws Error in a
/// capture: the graph would read the staging memory again.
void copy_to_device(void* to, const void* from, size_t bytes);
/// A copy of host memory on the device.
Block on_device(const void* from, size_t bytes, const char* op);
/// Waits for what is queued and copies; `bytes` may be any number.
void copy_to_host(void* to, const void* from, size_t bytes);

}  // namespace llmkit::cuda
