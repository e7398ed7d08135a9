#pragma once

#include <functional>
#include <vector>

#include "cuda/attention/attention.h"

namespace llmkit::cuda {

/// Where a cache has its device memory from; what is queued on its stream may still use what is
/// released.
struct CacheMemory {
  std::function<void*(size_t bytes)> acquire;  // aligned to 256 bytes; null where there is none
  std::function<void(void*)> release;
  /// Queues a copy of host memory, which may change as soon as it returns.
  std::function<void(void* to, const void* from, size_t bytes)> upload;
};

/// Keys and values of the rows of a batch in one layer, in pages of device memory, which stay where
/// they are; rows that were one share their pages until one of them is written. The pages and who
/// shares them are kept here, on the host; kernels find the pages by a table on the device.
class KvCache {
 public:
  KvCache(size_t rows, size_t heads, const PageLayout& layout, CacheMemory memory);
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;
  ~KvCache();

  size_t rows() const { return rows_.size(); }
  size_t heads() const { return heads_; }
  const PageLayout& layout() const { return layout_; }
  /// Bytes of all pages; a shared one counts once.
  size_t bytes() const { return pages_ * page_bytes(); }

  /// Gives each row pages of its own for keys [positions[row], positions[row] + count), and the
  /// table a place for each; new pages hold zeros. Steps within what is reserved need nothing of
  /// the host. cudaErrorMemoryAllocation where there is no memory; what is held already stays.
  cudaError_t reserve(const int32_t* positions, size_t count, cudaStream_t stream);

  /// The same for keys up to `count` in every row, beyond those that reserve() has seen, but for
  /// the table: steps that need the host for nothing have one of their own.
  cudaError_t reserve_all(size_t count, cudaStream_t stream);

  /// Queues where the pages of the rows are into a table [rows, places] on the device, null behind
  /// the last. It stays right until pages are reserved or rows are selected.
  void write_table(uint8_t** table, size_t places) const;

  /// Row indices[i] becomes row i.
  void select(size_t count, const int32_t* indices);

  /// For a step whose rows have `most_keys` keys at most after it. The table stays where it is
  /// until more pages than it has places for are reserved, or rows are selected.
  CachePages pages(size_t most_keys) const { return {layout_, table_, places_, most_keys}; }

 private:
  struct Page {
    uint8_t* data;
    size_t users;
  };
  using Row = std::vector<Page*>;

  size_t page_bytes() const { return heads_ * layout_.head_bytes(); }
  Page* new_page();
  void release(Page* page);
  /// Gives a row pages up to `count`, those from `first` on its own.
  cudaError_t extend(Row& row, size_t first, size_t count, cudaStream_t stream);
  cudaError_t upload_table();

  std::vector<Row> rows_;
  std::vector<size_t> lengths_;  // keys of each row as far as the host knows
  size_t heads_;
  PageLayout layout_;
  CacheMemory memory_;
  size_t pages_ = 0;
  uint8_t** table_ = nullptr;  // [rows, places_] on the device
  size_t table_rows_ = 0, places_ = 0;
  bool changed_ = true;
};

}  // namespace llmkit::cuda
