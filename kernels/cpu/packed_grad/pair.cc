#include "cpu/packed_grad/pair.h"

#include <algorithm>

#include "base/parallel.h"
#include "base/scratch.h"
#include "cpu/split/split.h"

namespace llmkit {
namespace {

/// Strips of dy at most, and their columns at least.
constexpr size_t kStrips = 16, kLeastStrip = 64;
/// Columns of x that are taken at a time.
constexpr size_t kColumns = 128;

size_t divide_up(size_t a, size_t b) { return (a + b - 1) / b; }
size_t round_up(size_t a, size_t b) { return divide_up(a, b) * b; }

const PackedGradKernels& kernels() { return packed_grad_kernels(); }

uint8_t* bytes_of(Scratch slot, size_t count) {
  return reinterpret_cast<uint8_t*>(scratch(slot, divide_up(count, sizeof(float))));
}

}  // namespace

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
  for (size_t n = begin; n < end; n += kGradDepth) {
    const size_t depth = std::min(kGradDepth, end - n);
    for (size_t row = 0; row < p_.m; row += kGradRows)
      kernels().pack({p_.dy + row * p_.lddy + n, p_.lddy, std::min(kGradRows, p_.m - row),
                      dy_.width(row), depth},
                     dy_.at(row, n));
    low_product(n, depth, n > begin, dlow);
    gradient_of_b(n, depth);
  }
}

/// dlow [both, ld] (+)= parts of bᵀ · dyᵀ, over `depth` columns of dy from n on.
void PairGradient::low_product(size_t n, size_t depth, bool accumulate, float* dlow) const {
  uint8_t* const panel = bytes_of(Scratch::kDecoded, both_ * kGradDepth * dy_.element);
  kernels().decode(b_, {0, both_, n / 16, divide_up(depth, 16)}, panel);
  for (size_t row = 0; row < p_.m; row += kGradRows)
    kernels().product({both_, dy_.width(row), round_up(depth, kGradStep), panel, dy_.at(row, n),
                       dlow + row, ld_, accumulate});
}

/// [both, width]: the product of panels made of m rows with as many rows of a matrix.
const float* PairGradient::over_rows(const GradColumns& all, const uint8_t* panels) const {
  float* const sums = scratch(Scratch::kScores, both_ * all.width);
  uint8_t* const block = bytes_of(Scratch::kPanel, kGradDepth * all.width * dy_.element);
  for (size_t row = 0; row < all.rows; row += kGradDepth) {
    const size_t rows = std::min(kGradDepth, all.rows - row);
    kernels().pack_columns({all.values.from(row * all.ld), all.ld, rows, all.cols, all.width},
                           block);
    kernels().product({both_, all.width, round_up(rows, kGradStep),
                       panels + row * both_ * dy_.element, block, sums, all.width, row > 0});
  }
  return sums;
}

void PairGradient::gradient_of_b(size_t n, size_t count) const {
  const size_t rank = pair_.rank, width = round_up(count, 16);
  const float* const sums = over_rows({p_.dy + n, p_.lddy, p_.m, count, width}, low_panels_);
  for (size_t i = 0; i < count; ++i)
    for (size_t r = 0; r < rank; ++r)
      pair_.db[(n + i) * rank + r] = sums[r * width + i] + sums[(width_ + r) * width + i];
}

void PairGradient::gradient_of_a(size_t col, size_t count, const uint8_t* dlow_panels) const {
  const size_t cols = weight_.cols, width = round_up(count, 16);
  const float* const sums = over_rows({pair_.x.from(col), cols, p_.m, count, width}, dlow_panels);
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
