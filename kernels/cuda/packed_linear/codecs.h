#pragma once

#include "cuda/base/instructions.h"
#include "cuda/packed/layout.h"

// How the codes of a chunk become bf16 values. A codec has
//   kPlanes, kScaled, kTableBytes   planes of a tile; whether there are scales; its table's size
//   Zeros                           what it keeps of the zero points of a chunk's four rows
//   fill(table, values)             makes the table, with all threads of the block
//   zeros(bytes)                    of four zero points; usual_zeros() of a weight without its own
//   pair(chunk, p, zeros, lane_table, r)  r[i] = columns (2p, 2p + 1) of row i of the chunk

namespace llmkit::cuda {

__device__ __forceinline__ bf16x2 as_pair(uint32_t bits) {
  bf16x2 pair;
  memcpy(&pair, &bits, sizeof pair);
  return pair;
}
__device__ __forceinline__ uint32_t as_bits(bf16x2 pair) {
  uint32_t bits;
  memcpy(&bits, &pair, sizeof bits);
  return bits;
}
__device__ __forceinline__ uint32_t subtract_pairs(uint32_t a, uint32_t b) {
  return as_bits(__hsub2(as_pair(a), as_pair(b)));
}

/// Word `index` of 16 bytes; the index must be known when it is compiled.
__device__ __forceinline__ uint32_t word_of(const uint4& v, int index) {
  return index == 0 ? v.x : index == 1 ? v.y : index == 2 ? v.z : v.w;
}

/// 0x4300 | q is exactly 128 + q in bf16 for q < 128, and so is its difference to 128 + zero.
struct Int4Codec {
  static constexpr int kPlanes = 1, kTableBytes = 0;
  static constexpr bool kScaled = true;
  struct Zeros {
    uint32_t bias[4];
  };
  static __device__ __forceinline__ void fill(char*, const uint16_t*) {}
  static __device__ __forceinline__ Zeros usual_zeros() {
    return {{0x43084308u, 0x43084308u, 0x43084308u, 0x43084308u}};
  }
  static __device__ __forceinline__ Zeros zeros(uint32_t bytes) {
    const uint32_t high = 0x43434343u;
    return {{__byte_perm(bytes, high, 0x4040), __byte_perm(bytes, high, 0x4141),
             __byte_perm(bytes, high, 0x4242), __byte_perm(bytes, high, 0x4343)}};
  }
  static __device__ __forceinline__ void pair(const uint4 (&chunk)[kPlanes], int p,
                                              const Zeros& zeros, uint32_t, uint32_t (&r)[4]) {
    const uint32_t word = word_of(chunk[0], p);
#pragma unroll
    for (int i = 0; i < 4; ++i)
      r[i] = subtract_pairs(and_or(word >> (4 * i), 0x000f000fu, 0x43004300u), zeros.bias[i]);
  }
};

/// A table of the pairs of values of a byte, once for each of the 32 banks of shared memory: a lane
/// reads its own bank, so that no look-up waits for another.
struct TableCodec {
  static constexpr int kPlanes = 1, kTableBytes = 256 * 32 * 4;
  static constexpr bool kScaled = true;
  struct Zeros {};
  static __device__ __forceinline__ void fill(char* table, const uint16_t* values) {
    uint4* const rows = reinterpret_cast<uint4*>(table);
    for (int i = threadIdx.x; i < kTableBytes / 16; i += blockDim.x) {
      const int byte = i / 8;
      const uint32_t pair = values[byte & 15] | static_cast<uint32_t>(values[byte >> 4]) << 16;
      rows[i] = make_uint4(pair, pair, pair, pair);
    }
  }
  static __device__ __forceinline__ Zeros usual_zeros() { return {}; }
  static __device__ __forceinline__ Zeros zeros(uint32_t) { return {}; }
  static __device__ __forceinline__ void pair(const uint4 (&chunk)[kPlanes], int p, const Zeros&,
                                              uint32_t lane_table, uint32_t (&r)[4]) {
    const uint32_t word = word_of(chunk[0], p);
    const uint32_t rows[4] = {word << 7, word >> 1, word >> 9, word >> 17};
#pragma unroll
    for (int i = 0; i < 4; ++i) r[i] = load_shared_4(lane_table + (rows[i] & 0x7f80u));
  }
};

/// The lower 7 bits as in Int4Codec; less 256, or 128 where bit 7 is set, that is q - 128, and then
/// less zero - 128. All of it is exact.
struct Int8Codec {
  static constexpr int kPlanes = 2, kTableBytes = 0;
  static constexpr bool kScaled = true;
  struct Zeros {
    uint32_t shift[4];
  };
  /// q - 128 of the bytes 0 and 2.
  static __device__ __forceinline__ uint32_t centered(uint32_t bytes) {
    const uint32_t low = and_or(bytes, 0x007f007fu, 0x43004300u);
    return subtract_pairs(low, (bytes & 0x00800080u) ^ 0x43804380u);
  }
  static __device__ __forceinline__ void fill(char*, const uint16_t*) {}
  static __device__ __forceinline__ Zeros usual_zeros() { return {{0, 0, 0, 0}}; }
  static __device__ __forceinline__ Zeros zeros(uint32_t bytes) {
    return {{centered(__byte_perm(bytes, 0, 0x4040)), centered(__byte_perm(bytes, 0, 0x4141)),
             centered(__byte_perm(bytes, 0, 0x4242)), centered(__byte_perm(bytes, 0, 0x4343))}};
  }
  static __device__ __forceinline__ void pair(const uint4 (&chunk)[kPlanes], int p,
                                              const Zeros& zeros, uint32_t, uint32_t (&r)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t word = word_of(chunk[p >> 1], i);
      r[i] = subtract_pairs(centered((p & 1) == 0 ? word : word >> 8), zeros.shift[i]);
    }
  }
};

struct Bf16Codec {
  static constexpr int kPlanes = 4, kTableBytes = 0;
  static constexpr bool kScaled = false;
  struct Zeros {};
  static __device__ __forceinline__ void fill(char*, const uint16_t*) {}
  static __device__ __forceinline__ Zeros usual_zeros() { return {}; }
  static __device__ __forceinline__ Zeros zeros(uint32_t) { return {}; }
  static __device__ __forceinline__ void pair(const uint4 (&chunk)[kPlanes], int p, const Zeros&,
                                              uint32_t, uint32_t (&r)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) r[i] = word_of(chunk[p], i);
  }
};

/// use(codec) with the codec of a weight's values.
template <class Use>
auto with_codec(PackedCode code, const Use& use) {
  switch (code) {
    case PackedCode::kInt4:
      return use(Int4Codec());
    case PackedCode::kTable:
      return use(TableCodec());
    case PackedCode::kInt8:
      return use(Int8Codec());
    default:
      return use(Bf16Codec());
  }
}

}  // namespace llmkit::cuda
