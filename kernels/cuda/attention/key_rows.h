#pragma once

#include "cuda/base/elements.h"

namespace llmkit::cuda {

/// Keys whose softmax is made at a time, and keys of a page.
constexpr int kBlockKeys = 64;
constexpr int kPageKeys = 64;
constexpr size_t kMostHeadSize = 256;

/// How keys and values are kept; see cpu/attention/page_layout.h.
enum class KvType : uint8_t { kF32, kBf16, kInt8 };

__host__ __device__ constexpr size_t code_bytes(KvType type) {
  return type == KvType::kF32 ? 4 : type == KvType::kBf16 ? 2 : 1;
}

/// Where a page holds what one key/value head of E values has: keys [kPageKeys, width], values
/// likewise, and for kInt8 a scale per key and one per value. `width` is E rounded up to 16, with
/// zeros beyond E, so that rows begin at multiples of 16 bytes.
struct PageLayout {
  size_t E;
  KvType type;

  __host__ __device__ size_t width() const { return (E + 15) / 16 * 16; }
  __host__ __device__ size_t row_bytes() const { return width() * code_bytes(type); }
  __host__ __device__ size_t values_at() const { return kPageKeys * row_bytes(); }
  __host__ __device__ size_t key_scales_at() const { return 2 * values_at(); }
  __host__ __device__ size_t value_scales_at() const {
    return key_scales_at() + kPageKeys * sizeof(float);
  }
  __host__ __device__ size_t head_bytes() const {
    return type == KvType::kInt8 ? value_scales_at() + kPageKeys * sizeof(float) : key_scales_at();
  }
};

/// The keys or the values of a batch: rows of `width` codes that may be read, in pages or evenly
/// spaced.
struct KeyRows {
  KvType type;
  int width;
  const uint8_t* rows;                        // evenly spaced; else null
  size_t batch_bytes, head_bytes, row_bytes;  // from one sequence, head, key to the next
  uint8_t* const* pages;                      // [B, pages_per_row]
  size_t pages_per_row;
  size_t page_offset, page_scales;  // of head 0: where its rows and their scales are in a page

  /// Where key `key` of a sequence begins, of rows that are evenly spaced and of any.
  __host__ __device__ const uint8_t* at_evenly(size_t b, size_t head, size_t key) const {
    return rows + b * batch_bytes + head * head_bytes + key * row_bytes;
  }
  __host__ __device__ const uint8_t* at(size_t b, size_t head, size_t key) const {
    if (rows != nullptr) return at_evenly(b, head, key);
    return pages[b * pages_per_row + key / kPageKeys] + page_offset + head * head_bytes +
           key % kPageKeys * row_bytes;
  }
  /// What its codes are multiplied by.
  __host__ __device__ float scale(size_t b, size_t head, size_t key) const {
    if (type != KvType::kInt8) return 1;
    const uint8_t* const page = pages[b * pages_per_row + key / kPageKeys];
    return reinterpret_cast<const float*>(page + page_scales + head * head_bytes)[key % kPageKeys];
  }
};

/// Both, of one batch.
struct KeysAndValues {
  KeyRows keys, values;
};

inline KeysAndValues paged_rows(const PageLayout& layout, uint8_t* const* pages,
                                size_t pages_per_row) {
  KeyRows keys = {};
  keys.type = layout.type;
  keys.width = static_cast<int>(layout.width());
  keys.head_bytes = layout.head_bytes();
  keys.row_bytes = layout.row_bytes();
  keys.pages = pages;
  keys.pages_per_row = pages_per_row;
  KeyRows values = keys;
  keys.page_scales = layout.key_scales_at();
  values.page_offset = layout.values_at();
  values.page_scales = layout.value_scales_at();
  return {keys, values};
}

/// Rows of a tensor [B, N, heads, E]; of bf16 they need not begin at multiples of 16 bytes.
inline KeyRows tensor_rows(const ConstElements& x, size_t N, size_t heads, size_t E) {
  KeyRows rows = {};
  rows.type = x.is_bf16 ? KvType::kBf16 : KvType::kF32;
  rows.width = static_cast<int>(E);
  rows.rows = static_cast<const uint8_t*>(x.data);
  rows.head_bytes = E * code_bytes(rows.type);
  rows.row_bytes = heads * rows.head_bytes;
  rows.batch_bytes = N * rows.row_bytes;
  return rows;
}

/// Rows of a tensor [B, heads, N, width] of bf16.
inline KeyRows bf16_rows(const bf16* x, size_t heads, size_t N, size_t width) {
  KeyRows rows = {};
  rows.type = KvType::kBf16;
  rows.width = static_cast<int>(width);
  rows.rows = reinterpret_cast<const uint8_t*>(x);
  rows.row_bytes = width * sizeof(bf16);
  rows.head_bytes = N * rows.row_bytes;
  rows.batch_bytes = heads * rows.head_bytes;
  return rows;
}

}  // namespace llmkit::cuda
