#pragma once

#include <vector>

#include "cpu/attention/attention.h"
#include "cpu/attention/kv_cache.h"

namespace llmkit {

/// The kernels of this machine.
const AttentionKernels& attention_kernels();

/// Keys and values of some of the B·K heads in float32 pages, as far as queries see them.
class PagedHeads {
 public:
  /// Packs heads [begin, end) on all threads, in memory that the next PagedHeads of this thread
  /// uses again.
  PagedHeads(const AttentionArgs& args, size_t begin, size_t end, bool for_gradient);

  /// The pages of a cache themselves where they are float32, else restored in that memory.
  PagedHeads(const AttentionArgs& args, const KvCache& cache, size_t begin, size_t end);

  size_t begin() const { return begin_; }
  size_t count() const { return count_; }
  AttentionPages of(size_t head) const;

  /// Heads whose pages for so many keys take little memory together; at least one.
  static size_t at_once(const AttentionArgs& args, size_t keys);

 private:
  /// Pages of this many floats.
  float* make_room(size_t page_size);

  size_t begin_, count_, pages_;
  std::vector<const float*> keys_, values_, value_tiles_;  // [heads, pages_]
};

/// y (and log_sum_exp, unless null) of the queries of these heads.
void attend(const AttentionArgs& args, const PagedHeads& pages, float* y, float* log_sum_exp);

}  // namespace llmkit
