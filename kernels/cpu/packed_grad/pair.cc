#include "cpu/packed_grad/pair.h"

#include <algorithm>

#include "base/parallel.h"
#include "base/scratch.h"
#include "cpu/split/split.h"

namespace llmkit {
namespace {

/// Strips of dy at most, and their columns at least.
constexpr size_t kStrips = 16, kLeastStrip = 64;
/// Columns of dy or x that are taken at a time.
constexpr size_t kColumns = 128;

size_t divide_up(size_t a, size_t b) { return (a + b - 1) / b; }
size_t round_up(size_t a, size_t b) { return divide_up(a, b) * b; }

const PackedGradKernels& kernels() { return packed_grad_kernels(); }

uint8_t* bytes_of(Scratch slot, size_t count) {
  return reinterpret_cast<uint8_t*>(scratch(slot, divide_up(count, sizeof(float))));
}

}  // namespace

/// sums [both, width]: the product of panels, made of m rows, with as many rows of a matrix, which
/// come kGradRows at a time, in memory of this thread.
class PairGradient::OverRows {
 public:
  OverRows(const PairGradient& all, size_t width, const uint8_t* panels)
      : all_(all),
        panels_(panels),
        width_(width),
        sums_(scratch(Scratch::kScores, all.both_ * width)),
        block_(bytes_of(Scratch::kPanel, kGradDepth * width * all.dy_.element)) {}

  /// Those from `row` on; multiplies when a panel's rows or all are there.
  void add(const GradColumns& columns, size_t row) const {
    const size_t element = all_.dy_.element, in_panel = row % kGradDepth;
    kernels().pack_columns(columns, block_ + in_panel * width_ * element);
    const size_t rows = in_panel + columns.rows, first = row - in_panel;
    if (rows < kGradDepth && row + columns.rows < all_.p_.m) return;
    kernels().product({all_.both_, width_, round_up(rows, kGradStep),
                       panels_ + first * all_.both_ * element, block_, sums_, width_, first > 0});
  }
  const float* sums() const { return sums_; }

 private:
  const PairGradient& all_;
  const uint8_t* const panels_;
  const size_t width_;
  float* const sums_;
  uint8_t* const block_;
};

PairGradient::PairGradient(const PackedWeight& weight, const PackedGradArgs& args,
                           const GradBlocks& dy)
    : weight_(weight),
      p_(args),
      pair_(*args.pair),
      dy_(dy),
      depth_(weight.rows),
      width_(split_width(pair_.rank)),
      both_(round_up(2 * width_, 16)),
      ld_(round_up(args.m, 16)),
      strips_(divide_up(depth_, strip_width())) {}

size_t PairGradient::strip_width() const {
  return std::max(round_up(divide_up(depth_, kStrips), kLeastStrip), kLeastStrip);
}

void PairGradient::run() {
  const size_t rank = pair_.rank, cols = weight_.cols, step = strip_width();
  b_ = split_columns({pair_.b, depth_, rank, rank}, Scratch::kSplitB);
  low_panels_ = panels_of(split_columns({pair_.low, p_.m, rank, rank}, Scratch::kSplitLow),
                          Scratch::kLowParts);
  strip_sums_ = scratch(Scratch::kLowGrad, strips_ * both_ * ld_);
  parallel_for(strips_, grain_for(p_.m * step), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i)
      strip(i * step, std::min(i * step + step, depth_), strip_sums_ + i * both_ * ld_);
  });
  const SplitPlaces places = {weight_.group, weight_.group_stride, false};
  a_ = split_rows({pair_.a, rank, cols, cols}, places, 3, Scratch::kSplitA);
  sum_strips();
}

/// Columns [begin, end) of dy.
void PairGradient::strip(size_t begin, size_t end, float* dlow) const {
  uint8_t* const panel = bytes_of(Scratch::kDecoded, both_ * kGradDepth * dy_.element);
  for (size_t n = begin; n < end; n += kColumns) {
    const size_t count = std::min(kColumns, end - n), width = round_up(count, 16);
    const OverRows product(*this, width, low_panels_);
    kernels().decode(b_, {0, both_, n / 16, divide_up(count, 16)}, panel);
    for (size_t row = 0; row < p_.m; row += kGradRows) {
      const size_t rows = std::min(kGradRows, p_.m - row);
      const ConstElements dy = p_.dy.from(row * p_.lddy + n);
      kernels().pack({dy, p_.lddy, rows, dy_.width(row), count}, dy_.at(row, n));
      kernels().product({both_, dy_.width(row), round_up(count, kGradStep), panel, dy_.at(row, n),
                         dlow + row, ld_, n > begin});
      product.add({dy, p_.lddy, rows, count, width}, row);
    }
    put_b(n, count, product.sums());
  }
}

void PairGradient::put_b(size_t n, size_t count, const float* sums) const {
  const size_t rank = pair_.rank, width = round_up(count, 16);
  for (size_t i = 0; i < count; ++i)
    for (size_t r = 0; r < rank; ++r)
      pair_.db[(n + i) * rank + r] = sums[r * width + i] + sums[(width_ + r) * width + i];
}

/// Columns [col, col + count) of da.
void PairGradient::gradient_of_a(size_t col, size_t count, const uint8_t* dlow_panels) const {
  const size_t cols = weight_.cols, width = round_up(count, 16);
  const OverRows product(*this, width, dlow_panels);
  for (size_t row = 0; row < p_.m; row += kGradRows)
    product.add(
        {pair_.x.from(row * cols + col), cols, std::min(kGradRows, p_.m - row), count, width}, row);
  const float* const sums = product.sums();
  for (size_t r = 0; r < pair_.rank; ++r)
    for (size_t i = 0; i < count; ++i)
      pair_.da[r * cols + col + i] = sums[r * width + i] + sums[(width_ + r) * width + i];
}

/// Rows [row, row + count) of dlow, from the strips in their order.
void PairGradient::sum_rows(size_t row, size_t count, float* dlow) const {
  for (size_t r = 0; r < pair_.rank; ++r) {
    float sums[kGradRows] = {};
    for (size_t s = 0; s < strips_; ++s) {
      const float* const high = strip_sums_ + (s * both_ + r) * ld_ + row;
      const float* const low = high + width_ * ld_;
      for (size_t i = 0; i < count; ++i) sums[i] += high[i] + low[i];
    }
    for (size_t i = 0; i < count; ++i) dlow[i * pair_.rank + r] = pair_.scale * sums[i];
  }
}

/// dlow, as what add() multiplies with, and da.
void PairGradient::sum_strips() {
  const size_t m = p_.m, rank = pair_.rank, part = round_up(rank, 16), depth = 3 * part;
  const size_t padded = round_up(depth, kGradStep), element = dy_.element;
  float* const dlow = scratch(Scratch::kLowRank, m * rank);
  dlow_ = {bytes_of(Scratch::kGradParts, GradBlocks::bytes(m, padded, element)), m, padded,
           element};
  parallel_for(divide_up(m, kGradRows), 1, [&](size_t begin, size_t end) {
    float* const parts = scratch(Scratch::kLowSums, kGradRows * depth);
    std::fill_n(parts, kGradRows * depth, 0.0f);
    for (size_t row = begin * kGradRows; row < std::min(end * kGradRows, m); row += kGradRows) {
      const size_t count = std::min(kGradRows, m - row);
      sum_rows(row, count, dlow + row * rank);
      for (size_t i = 0; i < count; ++i)
        split_row(rank, dlow + (row + i) * rank, part, parts + i * depth);
      for (size_t n = 0; n < depth; n += kGradDepth)
        kernels().pack({parts + n, depth, count, dlow_.width(row), std::min(kGradDepth, depth - n)},
                       dlow_.at(row, n));
    }
  });
  const uint8_t* const panels =
      panels_of(split_columns({dlow, m, rank, rank}, Scratch::kSplitLow), Scratch::kLowParts);
  const size_t cols = weight_.cols;
  parallel_for(divide_up(cols, kColumns), grain_for(m * kColumns), [&](size_t begin, size_t end) {
    for (size_t col = begin * kColumns; col < std::min(end * kColumns, cols); col += kColumns)
      gradient_of_a(col, std::min(kColumns, cols - col), panels);
  });
}

void PairGradient::add(const GradStrip& strip, bool accumulate) const {
  const size_t depth = 3 * round_up(pair_.rank, 16);
  uint8_t* const panel = bytes_of(Scratch::kDecoded, kGradCols * kGradDepth * dy_.element);
  for (size_t n = 0; n < depth; n += kGradDepth) {
    const size_t count = std::min(kGradDepth, depth - n);
    kernels().decode(a_, {strip.col, strip.cols, n / 16, count / 16}, panel);
    for (size_t row = 0; row < strip.rows; row += kGradRows)
      kernels().product({round_up(strip.cols, 16), dlow_.width(strip.first + row),
                         round_up(count, kGradStep), panel, dlow_.at(strip.first + row, n),
                         strip.sums + row, strip.ld, accumulate || n > 0});
  }
}

/// Panels of kGradDepth rows of the two parts of low or dlow.
uint8_t* PairGradient::panels_of(const PackedWeight& parts, Scratch slot) const {
  const size_t panel = both_ * kGradDepth * dy_.element, count = divide_up(p_.m, kGradDepth);
  uint8_t* const panels = bytes_of(slot, count * panel);
  parallel_for(count, grain_for(panel), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const size_t rows = std::min(kGradDepth, p_.m - i * kGradDepth);
      kernels().decode(parts, {0, both_, i * kGradDepth / 16, divide_up(rows, 16)},
                       panels + i * panel);
    }
  });
  return panels;
}

}  // namespace llmkit
