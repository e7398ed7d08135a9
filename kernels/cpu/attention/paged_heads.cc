#include "cpu/attention/paged_heads.h"

#include <algorithm>

#include "base/cpu_features.h"
#include "base/parallel.h"
#include "base/scratch.h"

namespace llmkit {
namespace {

/// Floats of pages at a time: what a processor's caches may still hold.
constexpr size_t kPackedFloats = size_t{4} << 20;

size_t padded(size_t E) { return (E + 15) / 16 * 16; }

/// The pages [first, last] that any query sees.
struct UsedPages {
  size_t first = 0, last = 0;

  explicit UsedPages(const AttentionArgs& p) {
    int32_t low = 0x7fffffff, high = 0;
    for (size_t i = 0; i < p.B * p.T; ++i) {
      if (p.last[i] < p.first[i]) continue;
      low = std::min(low, p.first[i]);
      high = std::max(high, p.last[i]);
    }
    last = static_cast<size_t>(high) / kPageKeys;
    first = std::min(static_cast<size_t>(low) / kPageKeys, last);
  }
};

}  // namespace

const AttentionKernels& attention_kernels() {
#define ATTENTION_KERNELS(isa, name) \
  if (runs_here(isa)) return name;
#include "cpu/attention/kernels.inc"
#undef ATTENTION_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

size_t PagedHeads::at_once(const AttentionArgs& args, size_t keys) {
  const size_t whole = (keys + kPageKeys - 1) / kPageKeys * kPageKeys;
  return std::max<size_t>(kPackedFloats / std::max<size_t>(3 * whole * padded(args.E), 1), 1);
}

float* PagedHeads::make_room(size_t page_size) {
  return scratch(Scratch::kPages, count_ * pages_ * page_size);
}

PagedHeads::PagedHeads(const AttentionArgs& p, size_t begin, size_t end, bool for_gradient)
    : begin_(begin), count_(end - begin), pages_((p.S + kPageKeys - 1) / kPageKeys) {
  const size_t tiles = kPageKeys * p.E, columns = kPageKeys * padded(p.E);
  const size_t page_size = (for_gradient ? 2 : 1) * tiles + columns, count = count_ * pages_;
  float* const memory = make_room(page_size);
  for (size_t i = 0; i < count; ++i) {
    keys_.push_back(memory + i * page_size);
    values_.push_back(keys_[i] + tiles);
    if (for_gradient) value_tiles_.push_back(values_[i] + columns);
  }
  const UsedPages used(p);
  const AttentionKernels& kernels = attention_kernels();
  parallel_for(count, grain_for(8 * page_size), [&](size_t from, size_t to) {
    for (size_t i = from; i < to; ++i) {
      const size_t page = i % pages_, head = begin + i / pages_, ld = p.K * p.E;
      if (page < used.first || page > used.last) continue;
      const size_t key = page * kPageKeys, n = std::min(kPageKeys, p.S - key);
      const size_t at = ((head / p.K * p.S + key) * p.K + head % p.K) * p.E;
      float* const place = memory + i * page_size;
      kernels.pack_tiles(p.k.floats() + at, ld, n, p.E, place);
      kernels.pack_columns((for_gradient ? p.k : p.v).floats() + at, ld, n, p.E, place + tiles);
      if (for_gradient) kernels.pack_tiles(p.v.floats() + at, ld, n, p.E, place + tiles + columns);
    }
  });
}

PagedHeads::PagedHeads(const AttentionArgs& p, const KvCache& cache, size_t begin, size_t end)
    : begin_(begin), count_(end - begin) {
  const UsedPages used(p);
  pages_ = used.last + 1;
  const PageLayout& layout = cache.layout();
  const size_t tiles = kPageKeys * p.E, page_size = tiles + kPageKeys * padded(p.E);
  const bool as_is = layout.type == KvType::kF32;
  float* const memory = as_is ? nullptr : make_room(page_size);
  for (size_t i = 0; i < count_ * pages_; ++i) {
    const size_t head = begin + i / pages_, page = i % pages_, row = head / p.K;
    const bool there = page < cache.row_pages(row);
    keys_.push_back(
        !as_is  ? memory + i * page_size
        : there ? reinterpret_cast<const float*>(cache.place(row, head % p.K, page * kPageKeys))
                : nullptr);
    values_.push_back(keys_[i] == nullptr ? nullptr : keys_[i] + tiles);
  }
  if (as_is) return;
  const AttentionKernels& kernels = attention_kernels();
  parallel_for(count_ * pages_, grain_for(2 * page_size), [&](size_t from, size_t to) {
    for (size_t i = from; i < to; ++i) {
      const size_t head = begin + i / pages_, page = i % pages_, row = head / p.K;
      if (page < used.first || page >= cache.row_pages(row)) continue;
      float* const place = memory + i * page_size;
      kernels.restore(layout, cache.place(row, head % p.K, page * kPageKeys), place, place + tiles);
    }
  });
}

AttentionPages PagedHeads::of(size_t head) const {
  const size_t at = (head - begin_) * pages_;
  const bool for_gradient = !value_tiles_.empty();
  return {keys_.data() + at, values_.data() + at,
          for_gradient ? value_tiles_.data() + at : nullptr};
}

}  // namespace llmkit
