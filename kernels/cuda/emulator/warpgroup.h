#pragma once

#include <cstring>

#include "cuda/emulator/instructions.h"

// The instructions of base/warpgroup.h, by the PTX ISA: a warp's part of a product is that of
// mma.m16n8k16. Products run at once, so that a missing wait does not show.

namespace llmkit::cuda {

namespace emulator {
/// Whether products of warpgroups have other bits than mma.sync.
extern bool warpgroups_differ;
}  // namespace emulator

inline uint64_t shared_operand(uint32_t address) {
  if ((address & 0x380) != 0) emulator::fail("a product's operand does not begin at 1024 bytes");
  return address;
}
inline void publish_shared() { emulator::shared_memory().publish(emulator::thread_of_block()); }
template <int kOperands>
void begin_products(uint32_t (&)[kOperands][4]) {}
inline void begin_products() {}
inline void commit_products() {}
template <int kPending>
void wait_products() {}
template <int kBlocks>
void settle_sums(float (&)[kBlocks][4]) {}

/// Where the swizzle of 128 bytes puts a byte: bits 4 to 6 of its address are exchanged by bits 7
/// to 9.
inline uint32_t swizzled(uint32_t address) { return address ^ (address >> 7 & 7) << 4; }

/// Rows of an operand as load_matrices has them; they must be visible to products.
inline void load_operand(uint32_t (&r)[4], uint32_t row) {
  emulator::shared_memory().check_published(row);
  load_matrices(r, row);
}

/// A warp's part of a product. With LLMKIT_EMULATED_WARPGROUPS=other the 16 terms are summed before
/// they are added to c: a chip whose products of warpgroups have other bits than mma.sync.
inline void multiply_add_part(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if (!emulator::warpgroups_differ) return multiply_add(c, a, b0, b1);
  float sums[4] = {};
  multiply_add(sums, a, b0, b1);
  for (int i = 0; i < 4; ++i) c[i] += sums[i];
}

template <int kBlocks>
void multiply_add_group(float (&c)[kBlocks][4], const uint32_t (&a)[4], uint64_t b, bool keep) {
  if (!keep) std::memset(c, 0, sizeof(c));
  const uint32_t lane = threadIdx.x % 32, first = static_cast<uint32_t>(b);
  for (uint32_t j = 0; j < kBlocks; j += 2) {
    // Matrices 0 and 1: columns j of the result by their first and last 8 values; 2 and 3: j + 1.
    uint32_t pieces[4];
    const uint32_t row = 8 * (j + lane / 16) + lane % 8;
    load_operand(pieces, swizzled(first + row * 128 + (lane / 8 % 2) * 16));
    multiply_add_part(c[j], a, pieces[0], pieces[1]);
    multiply_add_part(c[j + 1], a, pieces[2], pieces[3]);
  }
}

inline void multiply_add_across(float (&c)[8][4], const uint32_t (&a)[4], uint64_t b, bool keep) {
  if (!keep) std::memset(c, 0, sizeof(c));
  const uint32_t lane = threadIdx.x % 32, row = static_cast<uint32_t>(b) + lane % 16 * 128;
  for (uint32_t j = 0; j < 8; j += 2) {
    // Matrices 0 and 1: rows 0 to 7 and 8 to 15 of columns j; 2 and 3: of columns j + 1.
    uint32_t pieces[4];
    const uint32_t at = swizzled(row + (j + lane / 16) * 16);
    emulator::shared_memory().check_published(at);
    load_matrices_transposed(pieces, at);
    multiply_add_part(c[j], a, pieces[0], pieces[1]);
    multiply_add_part(c[j + 1], a, pieces[2], pieces[3]);
  }
}

template <int kBlocks>
void multiply_add_group(float (&c)[kBlocks][4], uint64_t a, uint64_t b, bool keep) {
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
  const uint32_t row = 16 * warp + 8 * (lane / 8 % 2) + lane % 8;
  uint32_t left[4];
  load_operand(left, swizzled(static_cast<uint32_t>(a) + row * 128 + lane / 16 * 16));
  multiply_add_group(c, left, b, keep);
}

}  // namespace llmkit::cuda
