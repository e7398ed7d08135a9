#pragma once

#include <cstddef>
#include <cstdint>

namespace llmkit {

/// Keys of a page; it does not depend on the machine.
constexpr size_t kPageKeys = 128;

/// How a cache keeps keys and values.
///   kF32   as they are
///   kBf16  the nearest bf16, ties to even
///   kInt8  code · scale; a key's or value's scale in one head is its largest magnitude / 127, and
///          a code the nearest integer to x · (127 / that magnitude), ties to even. Magnitudes
///          below 2^-120 count as zero; where one is not finite, the whole row is NaN.
/// They are rounded once, when they are written; sums are of the rounded values, in float32.
enum class KvType : uint8_t { kF32, kBf16, kInt8 };

/// Where a page holds what one key/value head of E values has, in the order in which it is read:
/// key tiles [kPageKeys / 16, E, 16], value columns [E / 16 rounded up, kPageKeys, 16] with zeros
/// beyond E, and for kInt8 a scale per key and one per value.
struct PageLayout {
  size_t E;
  KvType type;

  size_t code_bytes() const { return type == KvType::kF32 ? 4 : type == KvType::kBf16 ? 2 : 1; }
  size_t values_at() const { return kPageKeys * E * code_bytes(); }
  size_t key_scales_at() const {
    return values_at() + kPageKeys * ((E + 15) / 16 * 16) * code_bytes();
  }
  size_t value_scales_at() const { return key_scales_at() + kPageKeys * sizeof(float); }
  /// A multiple of 64.
  size_t head_bytes() const {
    return type == KvType::kInt8 ? value_scales_at() + kPageKeys * sizeof(float) : key_scales_at();
  }
};

/// A head's keys and values in the pages of a cache: those of page i begin at pages[i] + at.
struct StoredPages {
  uint8_t* const* pages;
  size_t at;
  KvType type;
};

}  // namespace llmkit
