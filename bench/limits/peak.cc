#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "work.h"

namespace {

/** Chains that hide the latency of one instruction, and turns of all of them per call. */
constexpr int kChains = 16;
constexpr long kTurns = 400000;

/** Calls `step` on independent accumulators, which the compiler must keep in registers. */
template <typename Accumulator, typename Step>
void Repeat(Accumulator zero, Step step) {
  Accumulator sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = zero;
  for (long turn = 0; turn < kTurns; ++turn) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) sums[i] = step(sums[i]);
    asm volatile("");
  }
  for (int i = 0; i < kChains; ++i) asm volatile("" : : "m"(sums[i]));
}

double Amount(int operations) { return static_cast<double>(kTurns) * kChains * operations; }

/** An operand that the compiler knows nothing about. */
template <typename T>
T Opaque(T value) {
  asm volatile("" : "+m"(value));
  return value;
}

#if defined(__AVX512F__)
void Fp32(int) {
  const __m512 a = Opaque(_mm512_set1_ps(1e-9f)), b = Opaque(_mm512_set1_ps(1.0f));
  Repeat(_mm512_setzero_ps(), [&](__m512 sum) { return _mm512_fmadd_ps(a, b, sum); });
}
constexpr int kFp32Operations = 32;
#elif defined(__AVX2__) && defined(__FMA__)
void Fp32(int) {
  const __m256 a = Opaque(_mm256_set1_ps(1e-9f)), b = Opaque(_mm256_set1_ps(1.0f));
  Repeat(_mm256_setzero_ps(), [&](__m256 sum) { return _mm256_fmadd_ps(a, b, sum); });
}
constexpr int kFp32Operations = 16;
#else
typedef float Float4 __attribute__((vector_size(16)));
void Fp32(int) {
  const Float4 a = Opaque(Float4{1e-9f, 1e-9f, 1e-9f, 1e-9f}), b = Opaque(Float4{1, 1, 1, 1});
  Repeat(Float4{}, [&](Float4 sum) { return sum + a * b; });
}
constexpr int kFp32Operations = 8;
#endif

#if defined(__AVX512BF16__)
void Bf16(int) {
  const __m512 one = Opaque(_mm512_set1_ps(1.0f));
  const __m512bh a = _mm512_cvtne2ps_pbh(one, one);
  Repeat(_mm512_setzero_ps(), [&](__m512 sum) { return _mm512_dpbf16_ps(sum, a, a); });
}
#endif

#if defined(__AVX512VNNI__)
void Int8(int) {
  const __m512i a = Opaque(_mm512_set1_epi8(3)), b = Opaque(_mm512_set1_epi8(2));
  // GCC copies the accumulators in every turn when it is given the intrinsic.
  Repeat(_mm512_setzero_si512(), [&](__m512i sum) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
  });
}
constexpr int kInt8Operations = 128;
#elif defined(__AVX2__)
void Int8(int) {
  const __m256i a = Opaque(_mm256_set1_epi8(3)), ones = Opaque(_mm256_set1_epi16(1));
  Repeat(_mm256_setzero_si256(), [&](__m256i sum) {
    const __m256i b = Opaque(a);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
  });
}
constexpr int kInt8Operations = 64;
#endif

}  // namespace

std::vector<Work> VectorWorks() {
  std::vector<Work> works = {{"fp32", Amount(kFp32Operations), Fp32}};
#if defined(__AVX512BF16__)
  works.push_back({"bf16", Amount(64), Bf16});
#endif
#if defined(__AVX2__)
  works.push_back({"int8", Amount(kInt8Operations), Int8});
#endif
  return works;
}
