#pragma once

#include <cstddef>

namespace llmkit {

/// Working memory of a thread: at least `count` floats, aligned to 64 bytes, valid until the
/// thread asks for the same slot again. Not cleared.
enum class Scratch {
  kDecoded,
  kScores,
  kPages,
  kTurned,
  kPrepared,
  kPanel,
  kGradRows,
  kLowRank,
  kSample,
  kPlaces,
  kRoundedRows,
  kRoundedColumns,
  kPreparedColumns,
  kWidened,
  kResults,
  kSplitA,
  kSplitB,
  kSplitLow,
  kLowParts,
  kLowSums,
  kLowGrad,
  kGradParts,
  kDequantized,
  kLogits,
  kLossRows,
  kLossGrad,
  kCount
};
float* scratch(Scratch slot, size_t count);

}  // namespace llmkit
