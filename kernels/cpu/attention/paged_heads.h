#pragma once

#include <vector>

#include "cpu/attention/attention.h"

namespace llmkit {

/// The kernels of this machine.
const AttentionKernels& attention_kernels();

/// Keys and values of some of the B·K heads, packed into pages as far as queries see them.
class PagedHeads {
 public:
  /// Packs heads [begin, end) on all threads, in memory that the next PagedHeads of this thread
  /// uses again.
  PagedHeads(const AttentionArgs& args, size_t begin, size_t end, bool for_gradient);

  AttentionPages of(size_t head) const;

  /// Heads whose pages take little memory together; at least one.
  static size_t at_once(const AttentionArgs& args);

 private:
  size_t begin_, pages_;
  std::vector<const float*> keys_, values_, value_tiles_;  // [heads, pages_]
};

}  // namespace llmkit
