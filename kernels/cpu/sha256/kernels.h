#pragma once

#include "cpu/sha256/sha256.h"

namespace llmkit {

/// Of round and message, as FIPS 180-4 numbers them.
extern const uint32_t kSha256Constants[64];

/// Hashes `count` blocks of every lane; those of lane i begin at blocks[i].
void sha256_blocks_avx512(Sha256States& states, const uint8_t* const* blocks, size_t count);

/// The same of the lanes of two states, step by step in turns: a step waits for the one before it,
/// half the time on Zen 5.
void sha256_blocks_pair_avx512(Sha256States (&states)[2], const uint8_t* const* blocks,
                               size_t count);

/// Hashes `count` blocks of one lane by the processor's own instructions, where it has them.
void sha256_blocks_one(Sha256States& states, size_t lane, const uint8_t* blocks, size_t count);

}  // namespace llmkit
