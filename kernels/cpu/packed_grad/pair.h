#pragma once

#include "base/scratch.h"
#include "cpu/packed/packed.h"
#include "cpu/packed_grad/blocks.h"

namespace llmkit {

/// A strip of dx: columns [col, col + cols) of the packed weight, the padding included, of rows
/// [first, first + rows); its sums are [cols, ld].
struct GradStrip {
  size_t col, cols, first, rows;
  float* sums;
  size_t ld;
};

/// The gradients of a pair of low rank, by the products of packed_grad_input: with the small
/// factor's two parts (cpu/split) in the place of the weight's columns. Orders of sums follow from
/// the shapes alone.
class PairGradient {
 public:
  PairGradient(const PackedWeight& weight, const PackedGradArgs& args, const GradBlocks& dy);

  /// Packs dy strip by strip of its columns; makes db, and dlow = scale · dy · b, of each strip
  /// while it is in the cache. Then da = dlowᵀ · x. With all threads.
  void run();
  /// sums (+)= aᵀ · dlowᵀ, on one thread. After run().
  void add(const GradStrip& strip, bool accumulate) const;

 private:
  class OverRows;

  size_t strip_width() const;
  void strip(size_t begin, size_t end, float* dlow) const;
  void put_b(size_t n, size_t count, const float* sums) const;
  void sum_strips();
  void sum_rows(size_t row, size_t count, float* dlow) const;
  void gradient_of_a(size_t col, size_t count, const uint8_t* dlow_panels) const;
  uint8_t* panels_of(const PackedWeight& parts, Scratch slot) const;

  const PackedWeight& weight_;
  const PackedGradArgs& p_;
  const PackedGradPair& pair_;
  const GradBlocks& dy_;
  const size_t depth_;  // columns of dy
  const size_t width_;  // of a part of b or low
  const size_t both_;   // columns of a panel with two parts of b or low
  const size_t ld_;     // rows of dy, padded
  size_t strips_;
  float* strip_sums_ = nullptr;  // [strip][both][ld]: dlowᵀ, its parts
  PackedWeight a_, b_;
  uint8_t* low_panels_ = nullptr;
  GradBlocks dlow_;
};

}  // namespace llmkit
