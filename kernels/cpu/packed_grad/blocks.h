#pragma once

#include <algorithm>

#include "cpu/packed_grad/packed_grad.h"

namespace llmkit {

/// m rows of values, rounded and packed for products: blocks of kGradRows rows, in each all values,
/// padded to whole steps.
struct GradBlocks {
  uint8_t* data;
  size_t m, depth, element;

  /// Bytes of all of them.
  static size_t bytes(size_t m, size_t depth, size_t element) {
    return (m + 15) / 16 * 16 * depth * element;
  }
  /// Rows of the block that begins at `row`, with the padding.
  size_t width(size_t row) const { return std::min((m - row + 15) / 16 * 16, kGradRows); }
  /// The same block from value n on, the first of a step.
  uint8_t* at(size_t row, size_t n) const {
    return data + (row * depth + n * width(row)) * element;
  }
};

}  // namespace llmkit
