#pragma once

// What the search of a scale tries, on every device (and in src/quant/methods/search.ts). For a
// group x whose largest magnitude is within kSmallestSearched and kLargestSearched; others stay
// rounded to nearest:
//
//   Round to nearest has the scale s0 and the zero point z0. A candidate has the scale s0 / factor
//   and a zero point z next to z0 (z0 itself without zero points); it gives every element a level
//   l: the value of a code for a scale of 1. For these levels the scale s = sum(x l) / sum(l l)
//   leaves the least error, by s * sum(x l) less than the sum of squares of x: the candidate where
//   that is the most, the first of equal ones, gives s and z. Then kSearchRounds times: s is
//   rounded as it is stored, the codes are chosen anew for it, the error sum((x - l s)^2) is taken,
//   and the best scale for these codes is the next s. The least error wins; round to nearest is the
//   first of them.
//
// All in float32, each operation rounded: a candidate's sums with the elements in order, those of a
// round with element i in lane i % 16 and the lanes added as kernels/README.md says. So every
// device and instruction set chooses the same.

namespace llmkit {

/// Factor i is (kFirstFactor + i * i) / kFactorUnit, exact in float32: scales from a little above
/// s0, close together, down to a third of it, which only large groups with outliers want.
constexpr int kSearchFactors = 16;
constexpr int kFirstFactor = 120;
constexpr float kFactorUnit = 128;
/// How far from z0 a zero point may be; the lowest is tried first.
constexpr int kZeroReach = 1;
constexpr int kSearchRounds = 2;
/// Beyond, squares and their sums could leave the range of float32.
constexpr float kSmallestSearched = 0x1p-40f, kLargestSearched = 0x1p40f;

}  // namespace llmkit
