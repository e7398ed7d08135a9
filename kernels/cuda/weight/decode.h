#pragma once

#include <cstring>

#include "base/weight_view.h"
#include "cuda/base/cuda.h"
#include "cuda/packed/stored_weight.h"

// Runs of elements of a stored weight in float32, on the device. weight_view.h has the formulas.

namespace llmkit::cuda {

/// A weight as an argument of a kernel. The view's pointers are device memory.
struct StoredWeight {
  WeightView view;
  float codebook[16] = {};  // of nf4 and fp4
};

inline StoredWeight stored_weight(const WeightView& view) {
  StoredWeight weight;
  weight.view = view;
  const float* const codebook = view.format == WeightFormat::kNf4 ? kNf4Values : kFp4Values;
  for (int i = 0; i < 16; ++i) weight.codebook[i] = codebook[i];
  return weight;
}

/// a / b. Division of 64 bits is slow, and most weights have fewer than 2^32 elements.
__device__ inline size_t divide(size_t a, size_t b) {
  if ((a | b) >> 32 != 0) return a / b;
  return static_cast<uint32_t>(a) / static_cast<uint32_t>(b);
}

/// The codes of kCount elements of kBits each, as they lie in memory; kCount is even. Of two codes
/// in a byte the first is the lower one, or with kHighFirst the higher.
template <int kBits, int kCount, bool kHighFirst = false>
class CodeRun {
 public:
  /// Elements [begin, begin + count); 0 stands for those behind them.
  __device__ __forceinline__ CodeRun(const uint8_t* codes, size_t begin, int count) {
    const uint8_t* const from = codes + begin * kBits / 8;
    const bool whole = count == kCount && begin * kBits % 8 == 0;
    if (whole && reinterpret_cast<uintptr_t>(from) % kAlignment == 0) {
#pragma unroll
      for (int i = 0; i < kBytes; i += kAlignment) load(from + i, i / 4);
      return;
    }
#pragma unroll
    for (uint32_t& word : words_) word = 0;
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      if (i < count) words_[i * kBits / 32] |= element(codes, begin + i) << shift(i);
  }
  __device__ __forceinline__ uint32_t operator[](int i) const {
    return words_[i * kBits / 32] >> shift(i) & kMask;
  }

 private:
  static constexpr int kBytes = kCount * kBits / 8, kAlignment = kBytes < 16 ? kBytes : 16;
  static constexpr uint32_t kMask = (1u << kBits) - 1;

  static __device__ __forceinline__ constexpr int shift(int i) {
    return (kHighFirst ? i ^ 1 : i) * kBits % 32;
  }
  static __device__ __forceinline__ uint32_t element(const uint8_t* codes, size_t index) {
    if constexpr (kBits == 16) return codes[2 * index] | uint32_t{codes[2 * index + 1]} << 8;
    if constexpr (kBits == 8) return codes[index];
    const bool high = (index % 2 == 1) != kHighFirst;
    return codes[index / 2] >> (high ? 4 : 0) & kMask;
  }
  __device__ __forceinline__ void load(const uint8_t* from, int word) {
    if constexpr (kAlignment == 16) {
      const uint4 v = *reinterpret_cast<const uint4*>(from);
      words_[word] = v.x;
      words_[word + 1] = v.y;
      words_[word + 2] = v.z;
      words_[word + 3] = v.w;
    } else if constexpr (kAlignment == 8) {
      const uint2 v = *reinterpret_cast<const uint2*>(from);
      words_[word] = v.x;
      words_[word + 1] = v.y;
    } else if constexpr (kAlignment == 4) {
      words_[word] = *reinterpret_cast<const uint32_t*>(from);
    } else {
      words_[word] = *reinterpret_cast<const uint16_t*>(from);
    }
  }

  uint32_t words_[(kBytes + 3) / 4];
};

/// out[i] = value(code i, scale, zero point) with those of its group for i < count, else 0.
template <class Codes, int kCount, class Value>
__device__ __forceinline__ void grouped_run(const WeightView& w, size_t begin, int count,
                                            float (&out)[kCount], const Value& value) {
  const Codes codes(w.codes, begin, count);
  size_t group = divide(begin, w.group_size), left = (group + 1) * w.group_size - begin;
  float scale = stored_scale(w, group);
  int zero = static_cast<int>(stored_zero(w, group));
#pragma unroll
  for (int i = 0; i < kCount; ++i, --left) {
    if (left == 0 && i < count) {
      ++group;
      left = w.group_size;
      scale = stored_scale(w, group);
      zero = static_cast<int>(stored_zero(w, group));
    }
    out[i] = i < count ? value(codes[i], scale, zero) : 0.0f;
  }
}

/// out[i] = element begin + i of the flattened matrix for i < count, else 0. `codebook` holds the
/// 16 values of nf4 or fp4, in shared memory where threads look up different ones.
template <int kCount>
__device__ __forceinline__ void stored_run(const WeightView& w, const float* codebook, size_t begin,
                                           int count, float (&out)[kCount]) {
#pragma unroll
  for (float& value : out) value = 0.0f;
  if (count <= 0) return;
  const auto number = [](uint32_t code, float scale, int zero) {
    return static_cast<float>(static_cast<int>(code) - zero) * scale;
  };
  const auto entry = [&](uint32_t code, float scale, int) { return codebook[code] * scale; };
  if (w.format == WeightFormat::kInt8) {
    grouped_run<CodeRun<8, kCount>>(w, begin, count, out, number);
  } else if (w.format == WeightFormat::kInt4) {
    grouped_run<CodeRun<4, kCount>>(w, begin, count, out, number);
  } else if (w.format == WeightFormat::kNf4 || w.format == WeightFormat::kFp4) {
    grouped_run<CodeRun<4, kCount, true>>(w, begin, count, out, entry);
  } else if (w.format == WeightFormat::kF32) {
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      if (i < count) out[i] = stored_float(w, begin + i);
  } else {
    const CodeRun<16, kCount> codes(w.codes, begin, count);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (i >= count) continue;
      const uint16_t bits = static_cast<uint16_t>(codes[i]);
      __half half;
      memcpy(&half, &bits, sizeof half);
      out[i] =
          w.format == WeightFormat::kF16 ? __half2float(half) : __uint_as_float(codes[i] << 16);
    }
  }
}

}  // namespace llmkit::cuda
