#pragma once

#include <vector>

#include "cpu/attention/page_layout.h"

namespace llmkit {

/// Keys and values of the rows of a batch in one layer. Grown by whole pages, which stay where they
/// are; rows that were one share their pages until one of them is written.
class KvCache {
 public:
  KvCache(size_t rows, size_t heads, const PageLayout& layout);
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;
  ~KvCache();

  size_t rows() const { return rows_.size(); }
  size_t heads() const { return heads_; }
  const PageLayout& layout() const { return layout_; }
  /// Bytes of all pages; a shared one counts once.
  size_t bytes() const { return pages_ * page_bytes(); }

  /// Gives each row pages of its own for keys [positions[row], positions[row] + count). New ones
  /// hold zeros. False when there is no memory; what is held already stays.
  bool reserve(const int32_t* positions, size_t count);

  /// Row indices[i] becomes row i.
  void select(size_t count, const int32_t* indices);

  StoredPages head(size_t row, size_t head) const {
    return {rows_[row].data(), kHeader + head * layout_.head_bytes(), layout_.type};
  }
  /// Pages that a row has.
  size_t row_pages(size_t row) const { return rows_[row].size(); }
  /// Where a head's part of the page with this key is, for writing.
  uint8_t* place(size_t row, size_t head, size_t key) const {
    return rows_[row][key / kPageKeys] + kHeader + head * layout_.head_bytes();
  }

 private:
  /// A page begins with the number of rows that have it.
  static constexpr size_t kHeader = 64;
  static size_t& users(uint8_t* page) { return *reinterpret_cast<size_t*>(page); }

  size_t page_bytes() const { return kHeader + heads_ * layout_.head_bytes(); }
  /// Null when there is no memory.
  uint8_t* new_page(const uint8_t* from);
  void release(uint8_t* page);

  std::vector<std::vector<uint8_t*>> rows_;
  size_t heads_;
  PageLayout layout_;
  size_t pages_ = 0;
};

}  // namespace llmkit
