#pragma once

#include <vector>

#include "cpu/sha256/kernels.h"

namespace llmkit::testing {

/// sha256 as FIPS 180-4 describes it, one message, one word after the other.
inline Sha256 sha256_reference(std::vector<uint8_t> message) {
  const uint64_t bits = 8 * message.size();
  message.push_back(0x80);
  while (message.size() % 64 != 56) message.push_back(0);
  for (int shift = 56; shift >= 0; shift -= 8)
    message.push_back(static_cast<uint8_t>(bits >> shift));
  const auto turned = [](uint32_t x, int n) { return x >> n | x << (32 - n); };
  Sha256States begin = {};
  begin.begin(0);
  uint32_t state[8];
  for (int i = 0; i < 8; ++i) state[i] = begin.words[i][0];
  for (size_t at = 0; at < message.size(); at += 64) {
    uint32_t w[64];
    for (size_t t = 0; t < 64; ++t) {
      const uint8_t* const p = message.data() + at + 4 * t;
      if (t < 16) {
        w[t] = uint32_t{p[0]} << 24 | uint32_t{p[1]} << 16 | uint32_t{p[2]} << 8 | p[3];
        continue;
      }
      const uint32_t a = w[t - 15], b = w[t - 2];
      w[t] = (turned(b, 17) ^ turned(b, 19) ^ b >> 10) + w[t - 7] +
             (turned(a, 7) ^ turned(a, 18) ^ a >> 3) + w[t - 16];
    }
    uint32_t s[8];
    for (int i = 0; i < 8; ++i) s[i] = state[i];
    for (int t = 0; t < 64; ++t) {
      const uint32_t e = s[4], a = s[0];
      const uint32_t one = s[7] + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) +
                           ((e & s[5]) ^ (~e & s[6])) + kSha256Constants[t] + w[t];
      const uint32_t two = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) +
                           ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
      for (int i = 7; i > 0; --i) s[i] = s[i - 1];
      s[4] += one;
      s[0] = one + two;
    }
    for (int i = 0; i < 8; ++i) state[i] += s[i];
  }
  Sha256 hash;
  for (size_t i = 0; i < 32; ++i) hash[i] = static_cast<uint8_t>(state[i / 4] >> (24 - i % 4 * 8));
  return hash;
}

}  // namespace llmkit::testing
