#include "cpu/attention/kv_cache.h"

#include <cstdlib>
#include <cstring>

namespace llmkit {

KvCache::KvCache(size_t rows, size_t heads, const PageLayout& layout)
    : rows_(rows), heads_(heads), layout_(layout) {}

KvCache::~KvCache() {
  for (const auto& row : rows_)
    for (uint8_t* page : row) release(page);
}

bool KvCache::reserve(const int32_t* positions, size_t count) {
  if (count == 0) return true;
  for (size_t b = 0; b < rows_.size(); ++b) {
    std::vector<uint8_t*>& row = rows_[b];
    const size_t first = static_cast<size_t>(positions[b]) / kPageKeys;
    const size_t last = (static_cast<size_t>(positions[b]) + count - 1) / kPageKeys;
    while (row.size() <= last) {
      uint8_t* const page = new_page(nullptr);
      if (page == nullptr) return false;
      row.push_back(page);
    }
    for (size_t i = first; i <= last; ++i) {
      if (users(row[i]) == 1) continue;
      uint8_t* const copy = new_page(row[i]);
      if (copy == nullptr) return false;
      release(row[i]);
      row[i] = copy;
    }
  }
  return true;
}

void KvCache::select(size_t count, const int32_t* indices) {
  std::vector<std::vector<uint8_t*>> chosen(count);
  for (size_t i = 0; i < count; ++i) {
    chosen[i] = rows_[static_cast<size_t>(indices[i])];
    for (uint8_t* page : chosen[i]) ++users(page);
  }
  rows_.swap(chosen);
  for (const auto& row : chosen)
    for (uint8_t* page : row) release(page);
}

uint8_t* KvCache::new_page(const uint8_t* from) {
  const size_t size = page_bytes();
  auto* const page = static_cast<uint8_t*>(std::aligned_alloc(64, size));
  if (page == nullptr) return nullptr;
  if (from == nullptr)
    std::memset(page, 0, size);
  else
    std::memcpy(page, from, size);
  users(page) = 1;
  ++pages_;
  return page;
}

void KvCache::release(uint8_t* page) {
  if (--users(page) > 0) return;
  std::free(page);
  --pages_;
}

}  // namespace llmkit
