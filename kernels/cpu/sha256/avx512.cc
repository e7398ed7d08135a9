#include "base/simd/avx512.h"

#include "cpu/sha256/kernels.h"

namespace llmkit {
namespace {

using Words = __m512i;

template <int kA, int kB, int kC>
inline Words rotations(Words x) {
  return _mm512_ternarylogic_epi32(_mm512_ror_epi32(x, kA), _mm512_ror_epi32(x, kB),
                                   _mm512_ror_epi32(x, kC), 0x96);
}
template <int kA, int kB, int kShift>
inline Words rotations_and_shift(Words x) {
  return _mm512_ternarylogic_epi32(_mm512_ror_epi32(x, kA), _mm512_ror_epi32(x, kB),
                                   _mm512_srli_epi32(x, kShift), 0x96);
}
inline Words choose(Words e, Words f, Words g) { return _mm512_ternarylogic_epi32(e, f, g, 0xca); }
inline Words majority(Words a, Words b, Words c) {
  return _mm512_ternarylogic_epi32(a, b, c, 0xe8);
}
inline Words sum(Words a, Words b) { return _mm512_add_epi32(a, b); }

/// The 16 words of a block of every message.
inline void load_blocks(const uint8_t* const* blocks, size_t offset, Words (&w)[16]) {
  // The bytes of a word are the highest first.
  const Words order = _mm512_set4_epi32(0x0c0d0e0f, 0x08090a0b, 0x04050607, 0x00010203);
  Vec rows[16];
  for (int lane = 0; lane < 16; ++lane) rows[lane] = load(blocks[lane] + offset);
  transpose(rows);
  for (int i = 0; i < 16; ++i) w[i] = _mm512_shuffle_epi8(as_int(rows[i]).v, order);
}

/// A round. The letters of the standard, a to h, move on by one place: here the places stay and `s`
/// is read from another one.
template <bool kSchedules>
inline void one_round(uint32_t constant, int r, Words (&w)[16], Words (&s)[8]) {
  const auto letter = [&](int i) -> Words& { return s[(i - r + 16) % 8]; };
  Words &d = letter(3), &h = letter(7);
  const Words a = letter(0), e = letter(4);
  // What a round hands to the next is added last, to sums that were ready before.
  const Words known = sum(h, sum(w[r], _mm512_set1_epi32(static_cast<int>(constant))));
  const Words chosen = choose(e, letter(5), letter(6)), turned = rotations<6, 11, 25>(e);
  const Words one = sum(sum(known, chosen), turned);
  d = sum(sum(sum(d, known), chosen), turned);
  h = sum(sum(one, majority(a, letter(1), letter(2))), rotations<2, 13, 22>(a));
  if constexpr (kSchedules)
    w[r] = sum(sum(w[r], rotations_and_shift<7, 18, 3>(w[(r + 1) % 16])),
               sum(w[(r + 9) % 16], rotations_and_shift<17, 19, 10>(w[(r + 14) % 16])));
}

template <bool kSchedules, int kStreams>
inline void sixteen_rounds(const uint32_t* constants, Words (&w)[kStreams][16],
                           Words (&s)[kStreams][8]) {
#pragma GCC unroll 16
  for (int r = 0; r < 16; ++r) {
#pragma GCC unroll 2
    for (int i = 0; i < kStreams; ++i) one_round<kSchedules>(constants[r], r, w[i], s[i]);
  }
}

template <int kStreams>
inline void hash_blocks(Sha256States* states, const uint8_t* const* blocks, size_t count) {
  Words s[kStreams][8];
  for (int i = 0; i < kStreams; ++i)
    for (int word = 0; word < 8; ++word) s[i][word] = _mm512_load_si512(states[i].words[word]);
  for (size_t block = 0; block < count; ++block) {
    Words w[kStreams][16], before[kStreams][8];
    for (int i = 0; i < kStreams; ++i) {
      load_blocks(blocks + 16 * i, block * Sha256States::kBlockBytes, w[i]);
      for (int word = 0; word < 8; ++word) before[i][word] = s[i][word];
    }
    for (int round = 0; round < 48; round += 16)
      sixteen_rounds<true>(kSha256Constants + round, w, s);
    sixteen_rounds<false>(kSha256Constants + 48, w, s);
    for (int i = 0; i < kStreams; ++i)
      for (int word = 0; word < 8; ++word) s[i][word] = sum(s[i][word], before[i][word]);
  }
  for (int i = 0; i < kStreams; ++i)
    for (int word = 0; word < 8; ++word) _mm512_store_si512(states[i].words[word], s[i][word]);
}

}  // namespace

void sha256_blocks_avx512(Sha256States& states, const uint8_t* const* blocks, size_t count) {
  hash_blocks<1>(&states, blocks, count);
}

void sha256_blocks_pair_avx512(Sha256States (&states)[2], const uint8_t* const* blocks,
                               size_t count) {
  hash_blocks<2>(states, blocks, count);
}

__attribute__((target("sha"))) void sha256_blocks_one(Sha256States& states, size_t lane,
                                                      const uint8_t* blocks, size_t count) {
  const auto word = [&](int i) -> uint32_t& { return states.words[i][lane]; };
  const auto four = [&](int a, int b, int c, int d) {
    return _mm_setr_epi32(static_cast<int>(word(a)), static_cast<int>(word(b)),
                          static_cast<int>(word(c)), static_cast<int>(word(d)));
  };
  // The letters f, e, b, a and h, g, d, c.
  __m128i one = four(5, 4, 1, 0), other = four(7, 6, 3, 2);
  const __m128i order = _mm_setr_epi32(0x00010203, 0x04050607, 0x08090a0b, 0x0c0d0e0f);
  for (size_t block = 0; block < count; ++block, blocks += Sha256States::kBlockBytes) {
    const __m128i one_before = one, other_before = other;
    __m128i w[4];
    for (int i = 0; i < 4; ++i)
      w[i] = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(blocks) + i), order);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      __m128i& words = w[i % 4];
      const __m128i last = w[(i + 3) % 4];
      const __m128i sums = _mm_add_epi32(
          words, _mm_loadu_si128(reinterpret_cast<const __m128i*>(kSha256Constants + 4 * i)));
      other = _mm_sha256rnds2_epu32(other, one, sums);
      one = _mm_sha256rnds2_epu32(one, other, _mm_shuffle_epi32(sums, 0x0e));
      if (i < 12)
        words = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(words, w[(i + 1) % 4]),
                                                   _mm_alignr_epi8(last, w[(i + 2) % 4], 4)),
                                     last);
    }
    one = _mm_add_epi32(one, one_before);
    other = _mm_add_epi32(other, other_before);
  }
  constexpr int kOne[4] = {5, 4, 1, 0}, kOther[4] = {7, 6, 3, 2};
  alignas(16) uint32_t ones[4], others[4];
  _mm_store_si128(reinterpret_cast<__m128i*>(ones), one);
  _mm_store_si128(reinterpret_cast<__m128i*>(others), other);
  for (int i = 0; i < 4; ++i) {
    word(kOne[i]) = ones[i];
    word(kOther[i]) = others[i];
  }
}

}  // namespace llmkit
