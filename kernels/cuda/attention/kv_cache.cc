#include "cuda/attention/kv_cache.h"

#include <algorithm>
#include <utility>

namespace llmkit::cuda {

KvCache::KvCache(size_t rows, size_t heads, const PageLayout& layout, CacheMemory memory)
    : rows_(rows), lengths_(rows), heads_(heads), layout_(layout), memory_(std::move(memory)) {}

KvCache::~KvCache() {
  for (const Row& row : rows_)
    for (Page* page : row) release(page);
  if (table_ != nullptr) memory_.release(table_);
}

cudaError_t KvCache::reserve(const int32_t* positions, size_t count, cudaStream_t stream) {
  cudaError_t error = cudaSuccess;
  for (size_t b = 0; b < rows_.size() && count > 0 && error == cudaSuccess; ++b) {
    const size_t first = static_cast<size_t>(positions[b]) / kPageKeys;
    const size_t last = (static_cast<size_t>(positions[b]) + count - 1) / kPageKeys;
    error = extend(rows_[b], first, last + 1, stream);
    lengths_[b] = static_cast<size_t>(positions[b]) + count;
  }
  const cudaError_t uploaded = upload_table();
  return error == cudaSuccess ? uploaded : error;
}

cudaError_t KvCache::reserve_all(size_t count, cudaStream_t stream) {
  cudaError_t error = cudaSuccess;
  const size_t pages = (count + kPageKeys - 1) / kPageKeys;
  for (size_t b = 0; b < rows_.size() && error == cudaSuccess; ++b)
    error = extend(rows_[b], lengths_[b] / kPageKeys, pages, stream);
  return error;
}

void KvCache::write_table(uint8_t** table, size_t places) const {
  std::vector<uint8_t*> pages(rows_.size() * places, nullptr);
  for (size_t b = 0; b < rows_.size(); ++b)
    for (size_t i = 0; i < rows_[b].size() && i < places; ++i)
      pages[b * places + i] = rows_[b][i]->data;
  if (!pages.empty()) memory_.upload(table, pages.data(), pages.size() * sizeof(uint8_t*));
}

cudaError_t KvCache::extend(Row& row, size_t first, size_t count, cudaStream_t stream) {
  for (size_t i = first; i < row.size() && i < count; ++i) {
    if (row[i]->users == 1) continue;
    Page* const own = new_page();
    if (own == nullptr) return cudaErrorMemoryAllocation;
    const cudaError_t error =
        cudaMemcpyAsync(own->data, row[i]->data, page_bytes(), cudaMemcpyDeviceToDevice, stream);
    if (error != cudaSuccess) return error;
    release(row[i]);
    row[i] = own;
  }
  while (row.size() < count) {
    Page* const page = new_page();
    if (page == nullptr) return cudaErrorMemoryAllocation;
    row.push_back(page);
    const cudaError_t error = cudaMemsetAsync(page->data, 0, page_bytes(), stream);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

cudaError_t KvCache::upload_table() {
  if (!changed_) return cudaSuccess;
  size_t most = 1;
  for (const Row& row : rows_) most = std::max(most, row.size());
  if (most > places_ || rows_.size() != table_rows_) {
    // Twice the places: the table moves rarely.
    const size_t places = most > places_ ? 2 * most : places_;
    void* const table = memory_.acquire(std::max<size_t>(rows_.size(), 1) * places * sizeof(void*));
    if (table == nullptr) return cudaErrorMemoryAllocation;
    if (table_ != nullptr) memory_.release(table_);
    table_ = static_cast<uint8_t**>(table);
    table_rows_ = rows_.size();
    places_ = places;
  }
  write_table(table_, places_);
  changed_ = false;
  return cudaSuccess;
}

void KvCache::select(size_t count, const int32_t* indices) {
  std::vector<Row> chosen(count);
  for (size_t i = 0; i < count; ++i) {
    chosen[i] = rows_[static_cast<size_t>(indices[i])];
    for (Page* page : chosen[i]) ++page->users;
  }
  std::vector<size_t> lengths(count);
  for (size_t i = 0; i < count; ++i) lengths[i] = lengths_[static_cast<size_t>(indices[i])];
  lengths_.swap(lengths);
  rows_.swap(chosen);
  for (const Row& row : chosen)
    for (Page* page : row) release(page);
  changed_ = true;
}

KvCache::Page* KvCache::new_page() {
  auto* const data = static_cast<uint8_t*>(memory_.acquire(page_bytes()));
  if (data == nullptr) return nullptr;
  ++pages_;
  changed_ = true;
  return new Page{data, 1};
}

void KvCache::release(Page* page) {
  if (--page->users > 0) return;
  memory_.release(page->data);
  delete page;
  --pages_;
}

}  // namespace llmkit::cuda
