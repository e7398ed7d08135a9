#include "cpu/packed_grad/bf16.h"

namespace llmkit {
namespace {

/// kCols columns of the weight by kVecs vectors of rows of dy, from (col, row).
template <int kCols, int kVecs>
inline void tile(const GradProduct& p, size_t col, size_t row) {
  float* const sums = p.sums + col * p.ld + row;
  __m512 acc[kCols][kVecs];
#pragma GCC unroll 16
  for (int i = 0; i < kCols; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kVecs; ++j)
      acc[i][j] = p.accumulate ? _mm512_loadu_ps(sums + i * p.ld + 16 * j) : _mm512_setzero_ps();
  const uint16_t* block = static_cast<const uint16_t*>(p.block) + 2 * row;
  for (size_t step = 0; step < p.depth / kGradStep; ++step) {
    const uint16_t* const piece = piece_of(p.panel, col, step) + col % 16 * kGradStep;
    for (size_t pair = 0; pair < kGradStep / 2; ++pair, block += 2 * p.width) {
      __m512bh dy[kVecs];
#pragma GCC unroll 4
      for (int j = 0; j < kVecs; ++j) dy[j] = (__m512bh)_mm512_loadu_si512(block + 32 * j);
#pragma GCC unroll 16
      for (int i = 0; i < kCols; ++i) {
        int two;
        __builtin_memcpy(&two, piece + i * kGradStep + 2 * pair, sizeof two);
        const __m512bh w = (__m512bh)_mm512_set1_epi32(two);
#pragma GCC unroll 4
        for (int j = 0; j < kVecs; ++j) acc[i][j] = _mm512_dpbf16_ps(acc[i][j], dy[j], w);
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kCols; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kVecs; ++j) _mm512_storeu_ps(sums + i * p.ld + 16 * j, acc[i][j]);
}

/// All columns by the vectors of rows that are left from `row`: enough sums to hide the latency.
inline void product(const GradProduct& p) {
  for (size_t row = 0; row < p.width; row += 64) {
    const size_t vecs = p.width - row < 64 ? (p.width - row) / 16 : 4;
    for (size_t col = 0; col < p.cols; col += 16)
      for (size_t i = 0; i < 16; i += vecs == 1 ? 16 : vecs == 2 ? 8 : 4) switch (vecs) {
          case 1:
            tile<16, 1>(p, col + i, row);
            break;
          case 2:
            tile<8, 2>(p, col + i, row);
            break;
          case 3:
            tile<4, 3>(p, col + i, row);
            break;
          default:
            tile<4, 4>(p, col + i, row);
        }
  }
}

}  // namespace

const PackedGradKernels packed_grad_avx512_bf16 = {
    sizeof(uint16_t), pack_bf16, pack_columns_bf16, decode_bf16, product, transpose_block_512};

}  // namespace llmkit
