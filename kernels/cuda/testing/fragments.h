#pragma once

// The maps of the PTX ISA that layouts are tested against: which element a register holds.

namespace llmkit::cuda::testing {

/// An element of the rows that ldmatrix is given: the lane whose address it was read from, and its
/// place among the 8 values there.
struct LoadedElement {
  int lane, column;
};
/// What half `e` of register `i` of a lane holds after ldmatrix.x4, or ldmatrix.x4.trans.
inline LoadedElement loaded(int lane, int i, int e, bool transposed) {
  const int group = lane / 4, pair = lane % 4 * 2 + e;
  return transposed ? LoadedElement{8 * i + pair, group} : LoadedElement{8 * i + group, pair};
}

/// A place of one operand of mma.m16n8k16: its row of A or column of B, and k.
struct OperandPlace {
  int i, k;
  bool operator==(const OperandPlace& other) const { return i == other.i && k == other.k; }
};
/// What half `e` of register `i` (0..3) of a lane is to hold of A.
inline OperandPlace operand_a(int lane, int i, int e) {
  return {lane / 4 + i % 2 * 8, lane % 4 * 2 + e + i / 2 * 8};
}
/// The same of two B that lie beside each other, 16 columns: registers 0 and 1 are the first's.
inline OperandPlace operands_b(int lane, int i, int e) {
  return {lane / 4 + i / 2 * 8, lane % 4 * 2 + e + i % 2 * 8};
}

}  // namespace llmkit::cuda::testing
