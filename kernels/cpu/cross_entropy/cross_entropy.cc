#include "cpu/cross_entropy/cross_entropy.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/cpu_features.h"
#include "base/parallel.h"
#include "base/scratch.h"
#include "cpu/gemm/gemm.h"
#include "cpu/linear/linear.h"
#include "cpu/packed/packed.h"
#include "cpu/rounded/rounded.h"
#include "cpu/weight/weight.h"

namespace llmkit {
namespace {

const CrossEntropyKernels& kernels() {
#define CROSS_ENTROPY_KERNELS(isa, name) \
  if (runs_here(isa)) return name;
#include "cpu/cross_entropy/kernels.inc"
#undef CROSS_ENTROPY_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

/// Rows of h in a task, in a pass of the gradient, and rows of the weight decoded at a time.
constexpr size_t kRows = 96, kPassRows = 2048, kWords = 48, kStrip = 256;
/// With a packed weight: rows of h in a task, many, for a weight is unpacked once for them all, and
/// words in a step of the gradient.
constexpr size_t kPackedRows = 512, kPackedChunk = 8 * kLossChunk;
/// Values that are kept of logits, at most: 64 MiB of them.
constexpr size_t kMostKept = size_t{32} << 20;

size_t divide_up(size_t a, size_t b) { return (a + b - 1) / b; }

/// Values between rows of n: no power of two, for rows that far apart would share a few places of
/// the caches.
size_t stride_of(size_t n) { return divide_up(n, 64) * 64 + 32; }

/// What is kept of m rows: their numbers in bf16, the largest logits of every chunk, the losses.
struct KeptLoss {
  size_t m, ld;
  uint16_t* exponentials;  // [m, ld]
  float* largest;          // [chunks, m]
  float* losses;           // [m]

  KeptLoss(size_t m, size_t words, float* memory)
      : m(m),
        ld(stride_of(words)),
        exponentials(reinterpret_cast<uint16_t*>(memory)),
        largest(memory + m * ld / 2),
        losses(largest + divide_up(words, kLossChunk) * m) {}
};

/// The rows that have a target, side by side: the others cost nothing.
struct ActiveRows {
  std::vector<size_t> places;
  std::vector<int64_t> targets;
  size_t cols;
  bool all;
  const float* h;

  explicit ActiveRows(const CrossEntropyArgs& p) : cols(p.weight.cols), h(p.h) {
    for (size_t i = 0; i < p.m; ++i)
      if (p.targets[i] >= 0) places.push_back(i);
    for (const size_t i : places) targets.push_back(p.targets[i]);
    all = places.size() == p.m;
    if (all) return;
    float* const packed = scratch(Scratch::kLossRows, places.size() * cols);
    each_row([&](size_t i) { copy(p.h + places[i] * cols, packed + i * cols); });
    h = packed;
  }

  std::vector<float> pick(const float* values) const {
    std::vector<float> picked;
    for (const size_t i : places) picked.push_back(values[i]);
    return picked;
  }
  /// Rows side by side to their places among `count`; the others are zeros.
  void put(const float* rows, size_t count, float* out) const {
    for (size_t i = 0, next = 0; i < count; ++i)
      if (next < places.size() && places[next] == i)
        ++next;
      else
        std::fill_n(out + i * cols, cols, 0.0f);
    each_row([&](size_t i) { copy(rows + i * cols, out + places[i] * cols); });
  }

 private:
  void copy(const float* from, float* to) const { std::memcpy(to, from, cols * sizeof(float)); }
  template <typename Body>
  void each_row(const Body& body) const {
    parallel_for(places.size(), grain_for(cols), [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) body(i);
    });
  }
};

/// logits [m, n] of `m` rows of h and words [word, word + n), rows `ld` apart.
void make_logits(const CrossEntropyArgs& p, const float* h, size_t m, size_t word, size_t n,
                 float* logits, size_t ld) {
  const size_t cols = p.weight.cols;
  for (size_t i = 0; i < n; i += kWords) {
    const size_t count = std::min(kWords, n - i);
    const float* const w = weight_rows(p.weight, word + i, count);
    const float* const bias = p.bias == nullptr ? nullptr : p.bias + word + i;
    gemm_f32().dot({m, count, cols, h, cols, w, cols, bias, logits + i, ld});
  }
}

/// The targets of rows [row, row + count), counted from a word.
std::vector<int64_t> targets_from(const int64_t* targets, size_t count, size_t word) {
  std::vector<int64_t> from_here(targets, targets + count);
  for (int64_t& target : from_here) target -= static_cast<int64_t>(word);
  return from_here;
}

/// The rows of one pass of the gradient.
struct PassRows {
  size_t m;
  const float* h;
  const float* log_sum_exp;
  const float* dlosses;
  const int64_t* targets;
  float* dh;
  bool first;  // no pass before has added to dweight and dbias
};

/// One chunk of words of one pass.
struct DensePass {
  const CrossEntropyArgs& p;
  const PassRows& rows;
  size_t word, n;
  float* dlogits;       // [m, kLossChunk]
  const float* weight;  // [n, cols]

  void make_dlogits() const {
    const size_t cols = p.weight.cols, blocks = divide_up(rows.m, kRows);
    const size_t work = 2 * kRows * n * cols / 8;
    parallel_for(blocks, grain_for(work), [&](size_t begin, size_t end) {
      const size_t row = begin * kRows, count = std::min(end * kRows, rows.m) - row;
      float* const logits = dlogits + row * kLossChunk;
      const float* const bias = p.bias == nullptr ? nullptr : p.bias + word;
      for (size_t i = 0; i < n; i += kWords)
        gemm_f32().dot({count, std::min(kWords, n - i), cols, rows.h + row * cols, cols,
                        weight + i * cols, cols, bias == nullptr ? nullptr : bias + i, logits + i,
                        kLossChunk});
      const auto targets = targets_from(rows.targets + row, count, word);
      kernels().gradient({count, n, kLossChunk, logits},
                         {nullptr, rows.log_sum_exp + row, rows.dlosses + row, targets.data()});
    });
  }

  /// dbias (+)= the sum of dlogits over the rows
  void add_to_dbias(float* dbias) const {
    const float one = 1;
    gemm_f32().axpy({1, n, rows.m, &one, 0, 0, dlogits, kLossChunk, dbias + word, n, !rows.first});
  }

  /// dh (+)= dlogits · weight
  void add_to_dh() const {
    const size_t cols = p.weight.cols, strips = divide_up(cols, kStrip);
    parallel_for(divide_up(rows.m, kRows) * strips, grain_for(2 * kRows * kStrip * n / 8),
                 [&](size_t begin, size_t end) {
                   for (size_t task = begin; task < end; ++task) {
                     const size_t row = task / strips * kRows, col = task % strips * kStrip;
                     gemm_f32().axpy({std::min(kRows, rows.m - row), std::min(kStrip, cols - col),
                                      n, dlogits + row * kLossChunk, kLossChunk, 1, weight + col,
                                      cols, rows.dh + row * cols + col, cols, word > 0});
                   }
                 });
  }

  /// dweight (+)= dlogitsᵀ · h
  void add_to_dweight(float* dweight) const {
    const size_t cols = p.weight.cols, strips = divide_up(cols, kStrip);
    parallel_for(divide_up(n, kRows) * strips, grain_for(2 * kRows * kStrip * rows.m / 8),
                 [&](size_t begin, size_t end) {
                   for (size_t task = begin; task < end; ++task) {
                     const size_t row = task / strips * kRows, col = task % strips * kStrip;
                     gemm_f32().axpy({std::min(kRows, n - row), std::min(kStrip, cols - col),
                                      rows.m, dlogits + row, 1, kLossChunk, rows.h + col, cols,
                                      dweight + (word + row) * cols + col, cols, !rows.first});
                   }
                 });
  }
};

/// Words [word, word + n) as float32: in place, or decoded by all threads into `decoded`.
const float* decoded_words(const WeightView& weight, size_t word, size_t n,
                           std::vector<float>& decoded) {
  if (weight.format == WeightFormat::kF32) return weight_rows(weight, word, n);
  const size_t cols = weight.cols;
  decoded.resize(kLossChunk * cols);
  parallel_for(n, grain_for(cols), [&](size_t begin, size_t end) {
    weight_f32().decode(weight, (word + begin) * cols, (end - begin) * cols,
                        decoded.data() + begin * cols);
  });
  return decoded.data();
}

void dense_pass(const CrossEntropyArgs& p, const CrossEntropyGradArgs& g, const PassRows& rows) {
  float* const dlogits = scratch(Scratch::kLogits, rows.m * kLossChunk);
  std::vector<float> decoded;
  for (size_t word = 0; word < p.weight.rows; word += kLossChunk) {
    const size_t n = std::min(kLossChunk, p.weight.rows - word);
    const float* const weight = decoded_words(p.weight, word, n, decoded);
    const DensePass pass = {p, rows, word, n, dlogits, weight};
    pass.make_dlogits();
    pass.add_to_dh();
    if (g.dweight != nullptr) pass.add_to_dweight(g.dweight);
    if (g.dbias != nullptr) pass.add_to_dbias(g.dbias);
  }
}

/// The target's logit among those of a chunk, and whether none before it is as large.
struct TargetLogit {
  float value;
  bool first;
};
TargetLogit target_of(const float* logits, int64_t target) {
  const float value = logits[target];
  return {value, std::find(logits, logits + target, value) == logits + target};
}

/// Sums of m rows and chunks of words, and the logits of the targets that are among them.
struct WordSums {
  ChunkSums chunks;  // of row 0 in the first chunk; the largest and the sums are [chunks, m]
  TargetLogit* targets;

  ChunkSums at(size_t row, size_t chunk, size_t m) const {
    ChunkSums sums = chunks;
    sums.largest += chunk * m + row;
    sums.sums += chunk * m + row;
    if (sums.exponentials != nullptr) sums.exponentials += row * sums.ld + chunk * kLossChunk;
    return sums;
  }
};

/// Those of words [word, word + words), `word` being the first of a chunk, of m rows of h, which
/// are `prepared` for a packed weight.
void sum_words(const CrossEntropyArgs& p, const PassRows& rows, const PreparedRows& prepared,
               size_t word, size_t words, const WordSums& to) {
  const size_t m = rows.m, cols = p.weight.cols;
  const size_t most_rows = p.packed == nullptr ? kRows : kPackedRows;
  const size_t chunks = divide_up(words, kLossChunk), blocks = divide_up(m, most_rows);
  const size_t work = 2 * std::min(m, most_rows) * kLossChunk * cols / 8;
  parallel_for(blocks * chunks, grain_for(work), [&](size_t begin, size_t end) {
    for (size_t task = begin; task < end; ++task) {
      const size_t chunk = task / blocks, first = word + chunk * kLossChunk,
                   row = task % blocks * most_rows;
      const size_t n = std::min(kLossChunk, word + words - first);
      const size_t count = std::min(most_rows, m - row);
      float* const logits = scratch(Scratch::kScores, most_rows * kLossChunk);
      if (p.packed == nullptr)
        make_logits(p, rows.h + row * cols, count, first, n, logits, kLossChunk);
      else
        packed_product(*p.packed, prepared, {row, count, first / 16, divide_up(n, 16)}, p.bias,
                       logits, kLossChunk);
      kernels().sums({count, n, kLossChunk, logits}, to.at(row, chunk, m));
      for (size_t i = 0; i < count; ++i) {
        const int64_t target = rows.targets[row + i] - static_cast<int64_t>(first);
        if (target >= 0 && target < static_cast<int64_t>(n))
          to.targets[row + i] = target_of(logits + i * kLossChunk, target);
      }
    }
  });
}

/// dweight [n, cols] (+)= dlogits [m, n]ᵀ · h, whose columns are rounded
void add_to_rounded_dweight(const ElementMatrix& dlogits, const PackedWeight& h_columns, bool first,
                            float* dweight) {
  if (first) return rounded_grad_weight(dlogits, h_columns, dweight);
  std::vector<float> more(dlogits.cols * h_columns.rows);
  rounded_grad_weight(dlogits, h_columns, more.data());
  parallel_elements(more.size(), 1, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) dweight[i] += more[i];
  });
}

/// dlogits of a pass with a packed weight, some chunks of words at a time, of what is kept or of
/// logits that are made again.
class PackedDlogits {
 public:
  PackedDlogits(const CrossEntropyArgs& p, const PassRows& rows, size_t first)
      : p_(p),
        rows_(rows),
        stride_(stride_of(std::min(kPackedChunk, p.weight.rows))),
        values_(
            reinterpret_cast<uint16_t*>(scratch(Scratch::kLogits, divide_up(rows.m * stride_, 2)))),
        first_(first),
        losses_(rows.m) {
    if (p.kept != nullptr) return;
    prepared_ = prepare_rows(*p.packed, rows.m, rows.h, p.weight.cols);
    largest_.resize(kPackedChunk / kLossChunk * rows.m);
    sums_.resize(largest_.size());
    target_logits_.resize(rows.m);
  }

  /// Of words [word, word + n).
  ElementMatrix make(size_t word, size_t n) {
    ChunkGradient chunk = {rows_.m,         n,       stride_, values_,
                           largest_.data(), rows_.m, values_, stride_};
    const float* losses = losses_.data();
    if (p_.kept != nullptr) {
      const KeptLoss kept(p_.m, p_.weight.rows, p_.kept);
      chunk.exponentials = kept.exponentials + first_ * kept.ld + word;
      chunk.ld = kept.ld;
      chunk.largest = kept.largest + word / kLossChunk * kept.m + first_;
      chunk.stride = kept.m;
      losses = kept.losses + first_;
    } else {
      sum_words(p_, rows_, prepared_, word, n,
                {{largest_.data(), sums_.data(), values_, stride_}, target_logits_.data()});
      // Of targets that are elsewhere it is anything, and not used.
      for (size_t i = 0; i < rows_.m; ++i)
        losses_[i] = rows_.log_sum_exp[i] - target_logits_[i].value;
    }
    const auto targets = targets_from(rows_.targets, rows_.m, word);
    parallel_for(rows_.m, grain_for(n), [&](size_t begin, size_t end) {
      ChunkGradient part = chunk;
      part.rows = end - begin;
      part.exponentials += begin * part.ld;
      part.largest += begin;
      part.dlogits += begin * part.ld_out;
      kernels().rounded_gradient(part, {losses + begin, rows_.log_sum_exp + begin,
                                        rows_.dlosses + begin, targets.data() + begin});
    });
    return {values_, rows_.m, n, stride_};
  }

 private:
  const CrossEntropyArgs& p_;
  const PassRows& rows_;
  const size_t stride_;
  uint16_t* const values_;
  const size_t first_;  // row of the pass among those with a target
  std::vector<float> losses_, largest_, sums_;
  std::vector<TargetLogit> target_logits_;
  PreparedRows prepared_{};
};

void packed_pass(const CrossEntropyArgs& p, const CrossEntropyGradArgs& g, const PassRows& rows,
                 size_t first) {
  const size_t cols = p.weight.cols;
  PackedDlogits pass(p, rows, first);
  PackedWeight h_columns;
  if (g.dweight != nullptr) h_columns = rounded_columns({rows.h, rows.m, cols, cols});
  for (size_t word = 0; word < p.weight.rows; word += kPackedChunk) {
    const size_t n = std::min(kPackedChunk, p.weight.rows - word);
    const ElementMatrix dlogits = pass.make(word, n);
    packed_grad_input(*p.packed, {rows.m, dlogits.values, dlogits.ld, word / 16, divide_up(n, 16),
                                  rows.dh, word > 0});
    if (g.dweight != nullptr)
      add_to_rounded_dweight(dlogits, h_columns, rows.first, g.dweight + word * cols);
    if (g.dbias != nullptr)
      kernels().add_rows(rows.m, n, dlogits.values.halves(), dlogits.ld, !rows.first,
                         g.dbias + word);
  }
}

/// For each of m rows, whether the target's logit is the first of the largest, from the largest of
/// each chunk.
void set_greedy(const ActiveRows& rows, const std::vector<float>& most,
                const std::vector<TargetLogit>& targets, int32_t* greedy) {
  const size_t m = rows.places.size();
  for (size_t i = 0; i < m; ++i) {
    const size_t own = static_cast<size_t>(rows.targets[i]) / kLossChunk;
    bool best = targets[i].first;
    for (size_t chunk = 0; best && chunk * m < most.size(); ++chunk) {
      const float other = most[chunk * m + i];
      best = chunk < own ? other < targets[i].value : other <= targets[i].value;
    }
    greedy[rows.places[i]] = best;
  }
}

}  // namespace

size_t kept_loss_floats(size_t m, size_t words) {
  const size_t ld = stride_of(words);
  if (m == 0 || ld > kMostKept / m) return 0;
  return m * (ld / 2 + divide_up(words, kLossChunk) + 1);
}

void cross_entropy(const CrossEntropyArgs& p, float* losses, float* log_sum_exp, int32_t* greedy) {
  const ActiveRows active(p);
  const size_t m = active.places.size(), words = p.weight.rows;
  const size_t chunks = divide_up(words, kLossChunk);
  const PreparedRows prepared =
      p.packed == nullptr ? PreparedRows{} : prepare_rows(*p.packed, m, active.h, p.weight.cols);
  std::vector<float> most(chunks * m), sums(chunks * m), totals(m);
  std::vector<TargetLogit> target_logits(m);
  const KeptLoss kept(p.m, words, p.kept);
  uint16_t* const exponentials = p.kept == nullptr ? nullptr : kept.exponentials;
  const PassRows rows = {m, active.h, nullptr, nullptr, active.targets.data(), nullptr, true};
  sum_words(p, rows, prepared, 0, words,
            {{most.data(), sums.data(), exponentials, kept.ld}, target_logits.data()});
  kernels().combine(chunks, m, m, most.data(), sums.data(), totals.data());
  std::fill(losses, losses + p.m, 0.0f);
  std::fill(log_sum_exp, log_sum_exp + p.m, 0.0f);
  for (size_t i = 0; i < m; ++i) {
    const size_t place = active.places[i];
    losses[place] = totals[i] - target_logits[i].value;
    log_sum_exp[place] = totals[i];
    if (p.kept != nullptr) kept.losses[i] = losses[place];
  }
  if (p.kept != nullptr)
    for (size_t chunk = 0; chunk < chunks; ++chunk)
      std::copy_n(&most[chunk * m], m, kept.largest + chunk * p.m);
  if (greedy == nullptr) return;
  std::fill(greedy, greedy + p.m, 0);
  set_greedy(active, most, target_logits, greedy);
}

void cross_entropy_grad(const CrossEntropyArgs& p, const CrossEntropyGradArgs& g) {
  const ActiveRows active(p);
  const std::vector<float> totals = active.pick(g.log_sum_exp), dlosses = active.pick(g.dlosses);
  const size_t m = active.places.size(), words = p.weight.rows, cols = p.weight.cols;
  if (m == 0) {
    std::fill(g.dh, g.dh + p.m * cols, 0.0f);
    if (g.dweight != nullptr) std::fill(g.dweight, g.dweight + words * cols, 0.0f);
    if (g.dbias != nullptr) std::fill(g.dbias, g.dbias + words, 0.0f);
    return;
  }
  float* const dh = active.all ? g.dh : scratch(Scratch::kLossGrad, m * cols);
  for (size_t row = 0; row < m; row += kPassRows) {
    const PassRows rows = {
        std::min(kPassRows, m - row), active.h + row * cols, &totals[row], &dlosses[row],
        &active.targets[row],         dh + row * cols,       row == 0};
    if (p.packed == nullptr)
      dense_pass(p, g, rows);
    else
      packed_pass(p, g, rows, row);
  }
  if (!active.all) active.put(dh, p.m, g.dh);
}

}  // namespace llmkit
