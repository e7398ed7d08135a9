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
/// With a packed weight: rows of h in a task, words in a step of the gradient and in a task of it.
/// Many, for a weight is unpacked once for them all.
constexpr size_t kPackedRows = 512, kPackedChunk = 2048, kPackedWords = 64;
/// Floats between rows of dlogits: no power of two, for rows that far apart would share a few
/// places of the caches.
constexpr size_t kPackedStride = kPackedChunk + 32;

size_t divide_up(size_t a, size_t b) { return (a + b - 1) / b; }

/// The rows that have a target, side by side: the others cost nothing.
struct ActiveRows {
  std::vector<size_t> places;
  std::vector<float> packed;
  std::vector<int64_t> targets;
  const float* h;

  explicit ActiveRows(const CrossEntropyArgs& p) : h(p.h) {
    for (size_t i = 0; i < p.m; ++i)
      if (p.targets[i] >= 0) places.push_back(i);
    for (const size_t i : places) targets.push_back(p.targets[i]);
    if (places.size() == p.m) return;
    const size_t cols = p.weight.cols;
    packed.resize(places.size() * cols);
    for (size_t i = 0; i < places.size(); ++i)
      std::memcpy(packed.data() + i * cols, p.h + places[i] * cols, cols * sizeof(float));
    h = packed.data();
  }

  std::vector<float> pick(const float* values) const {
    std::vector<float> picked;
    for (const size_t i : places) picked.push_back(values[i]);
    return picked;
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

/// dbias (+)= the sum of dlogits [m, n] over the rows
void add_to_dbias(const PassRows& rows, size_t n, const float* dlogits, size_t ld, float* dbias) {
  const float one = 1;
  gemm_f32().axpy({1, n, rows.m, &one, 0, 0, dlogits, ld, dbias, n, !rows.first});
}

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
      kernels().gradient({count, n, kLossChunk, logits}, rows.log_sum_exp + row, rows.dlosses + row,
                         targets_from(rows.targets + row, count, word).data());
    });
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

void dense_pass(const CrossEntropyArgs& p, const CrossEntropyGradArgs& g, const PassRows& rows,
                float* dlogits) {
  std::vector<float> decoded;
  for (size_t word = 0; word < p.weight.rows; word += kLossChunk) {
    const size_t n = std::min(kLossChunk, p.weight.rows - word);
    const float* const weight = decoded_words(p.weight, word, n, decoded);
    const DensePass pass = {p, rows, word, n, dlogits, weight};
    pass.make_dlogits();
    pass.add_to_dh();
    if (g.dweight != nullptr) pass.add_to_dweight(g.dweight);
    if (g.dbias != nullptr) add_to_dbias(rows, n, dlogits, kLossChunk, g.dbias + word);
  }
}

/// dlogits [m, n] of words [word, word + n), rows kPackedStride apart.
void packed_dlogits(const CrossEntropyArgs& p, const PassRows& rows, const PreparedRows& h,
                    size_t word, size_t n, float* dlogits) {
  const size_t work = 2 * rows.m * kPackedWords * p.weight.cols / 64;
  parallel_for(divide_up(n, kPackedWords), grain_for(work), [&](size_t begin, size_t end) {
    for (size_t i = begin * kPackedWords; i < std::min(end * kPackedWords, n); i += kPackedWords) {
      const size_t at = word + i, count = std::min(kPackedWords, n - i);
      packed_product(*p.packed, h, {0, rows.m, at / 16, divide_up(count, 16)}, p.bias, dlogits + i,
                     kPackedStride);
      kernels().gradient({rows.m, count, kPackedStride, dlogits + i}, rows.log_sum_exp,
                         rows.dlosses, targets_from(rows.targets, rows.m, at).data());
    }
  });
}

/// dweight [n, cols] (+)= dlogits [m, n]ᵀ · h, whose columns are rounded
void add_to_rounded_dweight(const FloatMatrix& dlogits, const PackedWeight& h_columns, bool first,
                            float* dweight) {
  if (first) return rounded_grad_weight(dlogits, h_columns, dweight);
  std::vector<float> more(dlogits.cols * h_columns.rows);
  rounded_grad_weight(dlogits, h_columns, more.data());
  parallel_elements(more.size(), 1, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) dweight[i] += more[i];
  });
}

void packed_pass(const CrossEntropyArgs& p, const CrossEntropyGradArgs& g, const PassRows& rows,
                 float* dlogits) {
  const size_t cols = p.weight.cols;
  const PreparedRows h = prepare_rows(*p.packed, rows.m, rows.h, cols);
  PackedWeight h_columns;
  if (g.dweight != nullptr) h_columns = rounded_columns({rows.h, rows.m, cols, cols});
  for (size_t word = 0; word < p.weight.rows; word += kPackedChunk) {
    const size_t n = std::min(kPackedChunk, p.weight.rows - word);
    packed_dlogits(p, rows, h, word, n, dlogits);
    packed_grad_input(*p.packed, {rows.m, dlogits, kPackedStride, word / 16, divide_up(n, 16),
                                  rows.dh, word > 0});
    if (g.dweight != nullptr)
      add_to_rounded_dweight({dlogits, rows.m, n, kPackedStride}, h_columns, rows.first,
                             g.dweight + word * cols);
    if (g.dbias != nullptr) add_to_dbias(rows, n, dlogits, kPackedStride, g.dbias + word);
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

void cross_entropy(const CrossEntropyArgs& p, float* losses, float* log_sum_exp, int32_t* greedy) {
  const ActiveRows active(p);
  const size_t m = active.places.size(), words = p.weight.rows, cols = p.weight.cols;
  const size_t most_rows = p.packed == nullptr ? kRows : kPackedRows;
  const size_t chunks = divide_up(words, kLossChunk), blocks = divide_up(m, most_rows);
  const PreparedRows rows =
      p.packed == nullptr ? PreparedRows{} : prepare_rows(*p.packed, m, active.h, cols);
  std::vector<float> most(chunks * m), sums(chunks * m), totals(m);
  std::vector<TargetLogit> target_logits(m);
  const size_t work = 2 * std::min(m, most_rows) * kLossChunk * cols / 8;
  parallel_for(blocks * chunks, grain_for(work), [&](size_t begin, size_t end) {
    for (size_t task = begin; task < end; ++task) {
      const size_t chunk = task / blocks, word = chunk * kLossChunk,
                   row = task % blocks * most_rows;
      const size_t n = std::min(kLossChunk, words - word), count = std::min(most_rows, m - row);
      float* const logits = scratch(Scratch::kScores, most_rows * kLossChunk);
      if (p.packed == nullptr)
        make_logits(p, active.h + row * cols, count, word, n, logits, kLossChunk);
      else
        packed_product(*p.packed, rows, {row, count, word / 16, divide_up(n, 16)}, p.bias, logits,
                       kLossChunk);
      kernels().sums({count, n, kLossChunk, logits}, &most[chunk * m + row],
                     &sums[chunk * m + row]);
      for (size_t i = 0; i < count; ++i) {
        const int64_t target = active.targets[row + i] - static_cast<int64_t>(word);
        if (target >= 0 && target < static_cast<int64_t>(n))
          target_logits[row + i] = target_of(logits + i * kLossChunk, target);
      }
    }
  });
  kernels().combine(chunks, m, m, most.data(), sums.data(), totals.data());
  std::fill(losses, losses + p.m, 0.0f);
  std::fill(log_sum_exp, log_sum_exp + p.m, 0.0f);
  for (size_t i = 0; i < m; ++i) {
    log_sum_exp[active.places[i]] = totals[i];
    losses[active.places[i]] = totals[i] - target_logits[i].value;
  }
  if (greedy == nullptr) return;
  std::fill(greedy, greedy + p.m, 0);
  set_greedy(active, most, target_logits, greedy);
}

void cross_entropy_grad(const CrossEntropyArgs& p, const CrossEntropyGradArgs& g) {
  const ActiveRows active(p);
  const std::vector<float> totals = active.pick(g.log_sum_exp), dlosses = active.pick(g.dlosses);
  const size_t m = active.places.size(), words = p.weight.rows, cols = p.weight.cols;
  std::fill(g.dh, g.dh + p.m * cols, 0.0f);
  if (m == 0) {
    if (g.dweight != nullptr) std::fill(g.dweight, g.dweight + words * cols, 0.0f);
    if (g.dbias != nullptr) std::fill(g.dbias, g.dbias + words, 0.0f);
    return;
  }
  const size_t chunk = p.packed == nullptr ? kLossChunk : kPackedStride;
  float* const dlogits = scratch(Scratch::kLogits, std::min(m, kPassRows) * chunk);
  std::vector<float> packed_dh(active.packed.empty() ? 0 : m * cols);
  float* const dh = packed_dh.empty() ? g.dh : packed_dh.data();
  for (size_t row = 0; row < m; row += kPassRows) {
    const PassRows rows = {
        std::min(kPassRows, m - row), active.h + row * cols, &totals[row], &dlosses[row],
        &active.targets[row],         dh + row * cols,       row == 0};
    (p.packed == nullptr ? dense_pass : packed_pass)(p, g, rows, dlogits);
  }
  for (size_t i = 0; i < m && !packed_dh.empty(); ++i)
    std::memcpy(g.dh + active.places[i] * cols, &packed_dh[i * cols], cols * sizeof(float));
}

}  // namespace llmkit
