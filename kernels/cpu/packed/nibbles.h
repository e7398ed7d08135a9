#pragma once

#include <cstdint>

namespace llmkit {

/// Two dwords of eight nibbles, column j in bits 4j, to the order of a packed line: byte j of each
/// is columns j and 4 + j.
inline uint64_t pair_nibbles(uint64_t x) {
  const auto spread = [](uint64_t half) {  // 4 nibbles of each to 4 bytes
    half = (half | half << 8) & 0x00ff00ff00ff00ffu;
    return (half | half << 4) & 0x0f0f0f0f0f0f0f0fu;
  };
  constexpr uint64_t kHalves = 0x0000ffff0000ffffu;
  return spread(x & kHalves) | spread(x >> 16 & kHalves) << 4;
}

/// The other way round.
inline uint64_t unpair_nibbles(uint64_t x) {
  const auto gather = [](uint64_t bytes) {  // the low nibbles of 4 bytes of each
    bytes &= 0x0f0f0f0f0f0f0f0fu;
    bytes = (bytes | bytes >> 4) & 0x00ff00ff00ff00ffu;
    return (bytes | bytes >> 8) & 0x0000ffff0000ffffu;
  };
  return gather(x) | gather(x >> 4) << 16;
}

/// Those of each byte change places.
inline uint64_t swap_nibbles(uint64_t x) {
  constexpr uint64_t kLow = 0x0f0f0f0f0f0f0f0fu;
  return (x & kLow) << 4 | (x >> 4 & kLow);
}

}  // namespace llmkit
