#include "cpu/attention_bf16/attention_bf16.h"

#include <algorithm>
#include <cstring>

#include "base/cpu_features.h"
#include "base/parallel.h"
#include "base/scratch.h"

namespace llmkit {
namespace {

/// Null where there are no kernels for this machine.
const AttentionBf16Kernels* kernels() {
#define ATTENTION_BF16_KERNELS(isa, name) \
  if (runs_here(isa)) return &name;
#include "cpu/attention_bf16/kernels.inc"
#undef ATTENTION_BF16_KERNELS
  return nullptr;
}

/// Bytes of heads that are packed at a time: what a processor's caches may still hold.
constexpr size_t kPackedBytes = size_t{16} << 20;
/// Queries whose gradient is made at a time where parts of it are added up: bounds their memory.
constexpr size_t kGradQueries = 256;
/// Parts that the gradient of a sequence is cut into at least, for as many threads.
constexpr size_t kGradParts = 4;

/// Some of the heads of all segments, packed in memory that the next ones use again.
class RoundedHeads {
 public:
  explicit RoundedHeads(const AttentionArgs& args, bool for_gradient)
      : p_(args), for_gradient_(for_gradient), segments_(attention_segments(args)) {}

  /// Packs the next heads. @returns false after the last one
  bool next() {
    const size_t count = segments_.size() * p_.K;
    heads_.clear();
    size_t bytes = 0;
    for (; done_ < count; ++done_) {
      const RoundedHead head = {segments_[done_ / p_.K], done_ % p_.K, {}, {}, {}, {}, {}, {}};
      const size_t needed = elements(head) * element_bytes();
      if (!heads_.empty() && bytes + needed > kPackedBytes) break;
      bytes += needed;
      heads_.push_back(head);
    }
    place(bytes);
    pack();
    return !heads_.empty();
  }
  const std::vector<RoundedHead>& heads() const { return heads_; }

 private:
  size_t elements(const RoundedHead& head) const {
    return head.segment.padded_keys() * rounded_size(p_.E);
  }
  /// Bytes for an element of a head's keys: two or three forms of it, and two sums.
  size_t element_bytes() const { return for_gradient_ ? 14 : 4; }

  void place(size_t bytes) {
    auto* at = reinterpret_cast<uint8_t*>(scratch(Scratch::kPages, bytes / sizeof(float)));
    for (RoundedHead& head : heads_) {
      const size_t count = elements(head);
      auto* const packed = reinterpret_cast<uint16_t*>(at);
      head.key_rows = packed;
      if (for_gradient_) {
        head.value_rows = packed + count;
        head.key_columns = packed + 2 * count;
        head.dk = reinterpret_cast<float*>(at + 6 * count);
        head.dv = head.dk + count;
      } else {
        head.value_columns = packed + count;
      }
      at += count * element_bytes();
    }
  }

  void pack() const {
    for (const RoundedHead& head : heads_) {
      const size_t blocks = head.segment.padded_keys() / kRoundedKeys;
      parallel_for(blocks, grain_for(kRoundedKeys * p_.E), [&](size_t begin, size_t end) {
        for (size_t block = begin; block < end; ++block) pack_block(head, block * kRoundedKeys);
      });
    }
  }

  void pack_block(const RoundedHead& head, size_t key) const {
    const size_t ld = p_.K * p_.E, at = key * rounded_size(p_.E);
    const size_t from =
        (head.segment.b * p_.S + head.segment.key_begin + key) * ld + head.kv * p_.E;
    const size_t count = std::min(kRoundedKeys, head.segment.keys() - key);
    const auto to = [at](const uint16_t* form) { return const_cast<uint16_t*>(form) + at; };
    kernels()->pack_rows(p_.k.from(from), ld, count, p_.E, to(head.key_rows));
    if (!for_gradient_)
      return kernels()->pack_columns(p_.v.from(from), ld, count, p_.E, to(head.value_columns),
                                     to(head.key_rows));
    kernels()->pack_rows(p_.v.from(from), ld, count, p_.E, to(head.value_rows));
    kernels()->pack_columns(p_.k.from(from), ld, count, p_.E, to(head.key_columns),
                            to(head.value_rows));
    const size_t size = kRoundedKeys * rounded_size(p_.E) * sizeof(float);
    std::memset(head.dk + at, 0, size);
    std::memset(head.dv + at, 0, size);
  }

  const AttentionArgs& p_;
  const bool for_gradient_;
  const std::vector<AttentionSegment> segments_;
  std::vector<RoundedHead> heads_;
  size_t done_ = 0;
};

/// Rows [begin, end) of a head.
struct RowRange {
  const RoundedHead* head;
  size_t begin, end;
};

/// Rows of every head, `step` at a time; first those that see most under a causal mask, so that
/// threads end together.
std::vector<RowRange> row_ranges(const AttentionArgs& p, const std::vector<RoundedHead>& heads,
                                 size_t step) {
  std::vector<RowRange> ranges;
  const size_t group = p.H / p.K;
  for (const RoundedHead& head : heads) {
    const size_t begin = head.segment.begin * group, end = head.segment.end * group;
    for (size_t i = (end - begin + step - 1) / step; i-- > 0;)
      ranges.push_back({&head, begin + i * step, std::min(begin + (i + 1) * step, end)});
  }
  return ranges;
}

/// What the gradient of a head is made in: parts of some of its rows.
class Gradient {
 public:
  Gradient(const AttentionArgs& args, const AttentionGradArgs& grad)
      : p_(args), g_(grad), group_(args.H / args.K), splits_((kGradParts + args.K - 1) / args.K) {}

  void run() {
    clear_keys();
    RoundedHeads packed(p_, true);
    while (packed.next()) {
      for (size_t begin = 0; make(packed.heads(), begin); begin += queries_at_once()) {
      }
      add_keys(packed.heads());
    }
  }

 private:
  size_t queries_at_once() const { return splits_ == 1 ? p_.T : kGradQueries; }

  /// The gradient of queries from `begin` of each segment on. @returns whether there were any
  bool make(const std::vector<RoundedHead>& heads, size_t begin) {
    std::vector<RowRange> ranges;
    for (const RoundedHead& head : heads) {
      const AttentionSegment& s = head.segment;
      if (s.begin + begin >= s.end) continue;
      const size_t end = std::min(s.begin + begin + queries_at_once(), s.end);
      ranges.push_back({&head, (s.begin + begin) * group_, end * group_});
    }
    if (ranges.empty()) return false;
    const size_t part = splits_ == 1 ? 0 : kGradQueries * group_ * p_.E;
    parts_.resize(ranges.size() * splits_ * part);
    parallel_for(ranges.size() * splits_, 1, [&](size_t from, size_t to) {
      float* const memory = scratch(Scratch::kScores, kernels()->scratch_size(p_.E));
      for (size_t i = from; i < to; ++i) {
        const RowRange& rows = ranges[i / splits_];
        kernels()->grad(p_, g_, *rows.head,
                        {rows.begin, rows.end, i % splits_, splits_,
                         splits_ == 1 ? nullptr : parts_.data() + i * part},
                        memory);
      }
    });
    if (splits_ > 1) add_parts(ranges, part);
    return true;
  }

  /// Adds the parts of dq up, the first one first.
  void add_parts(const std::vector<RowRange>& ranges, size_t part) const {
    for (size_t i = 0; i < ranges.size(); ++i) {
      const RowRange& rows = ranges[i];
      const float* const parts = parts_.data() + i * splits_ * part;
      parallel_for(rows.end - rows.begin, grain_for(splits_ * p_.E), [&](size_t from, size_t to) {
        for (size_t row = from; row < to; ++row) {
          const size_t at = rows.begin + row;
          const size_t place = (rows.head->segment.b * p_.T + at / group_) * p_.H +
                               rows.head->kv * group_ + at % group_;
          for (size_t e = 0; e < p_.E; ++e) {
            float sum = parts[row * p_.E + e];
            for (size_t split = 1; split < splits_; ++split)
              sum += parts[split * part + row * p_.E + e];
            g_.dq[place * p_.E + e] = sum;
          }
        }
      });
    }
  }

  void clear_keys() const {
    const size_t row = p_.K * p_.E;
    parallel_for(p_.B * p_.S, grain_for(row / 4), [&](size_t from, size_t to) {
      std::memset(g_.dk + from * row, 0, (to - from) * row * sizeof(float));
      std::memset(g_.dv + from * row, 0, (to - from) * row * sizeof(float));
    });
  }

  /// Puts the sums of heads to dk and dv. Segments may share keys: a thread takes them in order.
  void add_keys(const std::vector<RoundedHead>& heads) const {
    parallel_for(p_.K, 1, [&](size_t from, size_t to) {
      for (const RoundedHead& head : heads)
        if (head.kv >= from && head.kv < to) add_head(head);
    });
  }
  void add_head(const RoundedHead& head) const {
    const size_t ld = p_.K * p_.E, size = rounded_size(p_.E);
    const size_t at = (head.segment.b * p_.S + head.segment.key_begin) * ld + head.kv * p_.E;
    for (size_t key = 0; key < head.segment.keys(); ++key)
      for (size_t e = 0; e < p_.E; ++e) {
        g_.dk[at + key * ld + e] += head.dk[key * size + e];
        g_.dv[at + key * ld + e] += head.dv[key * size + e];
      }
  }

  const AttentionArgs& p_;
  const AttentionGradArgs& g_;
  const size_t group_, splits_;  // not by the batch: the parts make the bits
  std::vector<float> parts_;     // [rows of a range][splits][kGradQueries, E]
};

}  // namespace

bool has_attention_bf16() { return kernels() != nullptr; }

void attention_bf16(const AttentionArgs& args, const Elements& y, float* log_sum_exp) {
  RoundedHeads packed(args, false);
  while (packed.next()) {
    const std::vector<RowRange> ranges = row_ranges(args, packed.heads(), kRoundedRows);
    const size_t keys = std::min<size_t>(args.S, 4 * kRoundedKeys);
    parallel_for(
        ranges.size(), grain_for(kRoundedRows * keys * args.E / 64), [&](size_t begin, size_t end) {
          float* const memory = scratch(Scratch::kScores, kernels()->scratch_size(args.E));
          for (size_t i = begin; i < end; ++i) {
            const RowRange& rows = ranges[i];
            const AttentionTask task = {rows.head->segment.b, rows.head->kv, rows.begin, rows.end};
            kernels()->forward(args, *rows.head, task, y, log_sum_exp, memory);
          }
        });
  }
}

void attention_grad_bf16(const AttentionArgs& args, const AttentionGradArgs& grad) {
  Gradient(args, grad).run();
}

}  // namespace llmkit
