#include <algorithm>

#include "cpu/attention_bf16/attention_bf16.h"

namespace llmkit {
namespace {

/// Puts query t of sequence b to the segment that it belongs to, a new one where it begins one.
void put(std::vector<AttentionSegment>& segments, const AttentionArgs& p, size_t b, size_t t) {
  const size_t at = b * p.T + t;
  const bool sees = p.last[at] >= p.first[at];
  const size_t first = sees ? static_cast<size_t>(p.first[at]) : 0;
  const size_t end = sees ? static_cast<size_t>(p.last[at]) + 1 : 0;
  const bool begins =
      t == 0 || (sees && (p.last[at - 1] < p.first[at - 1] || p.first[at] > p.last[at - 1] ||
                          first < segments.back().key_begin));
  if (begins) segments.push_back({b, t, t, first, end});
  segments.back().end = t + 1;
  segments.back().key_end = std::max(segments.back().key_end, end);
}

}  // namespace

std::vector<AttentionSegment> attention_segments(const AttentionArgs& args) {
  std::vector<AttentionSegment> segments;
  for (size_t b = 0; b < args.B; ++b)
    for (size_t t = 0; t < args.T; ++t) put(segments, args, b, t);
  return segments;
}

}  // namespace llmkit
