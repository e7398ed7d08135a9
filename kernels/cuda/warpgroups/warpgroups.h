#pragma once

#include <cstdint>

#include "cuda/base/cuda.h"

namespace llmkit::cuda {

/// What a product in bf16 is made of. mma.sync (`kWarps`) is on every chip; the products of
/// warpgroups that compute capability 9.0 has besides (base/warpgroup.h) are faster for many rows.
/// Whether both give the same bits is documented nowhere, and the bits of a row must not depend on
/// how many rows there are: so a product is of one kind whatever its size, but where a comparison
/// on the chip has found no difference.
enum class Instructions : uint8_t {
  kWarps,       // mma.sync for any number of rows
  kWarpgroups,  // products of warpgroups for any number of rows: a compute type of its own
  kEither,      // the faster ones: both give the same bits
};

/// What products of warpgroups are on the GPU in use; kUnknown where there was no memory to compare
/// them.
enum class Warpgroups : uint8_t { kNone, kSameBits, kOtherBits, kUnknown };
constexpr const char* kWarpgroupNames[] = {"none", "same-bits", "other-bits", "unknown"};

/// Whether there is code with them for this chip. The emulated one has them where it has as much
/// shared memory for a block as chips of compute capability 9.0.
bool has_warpgroups();

/// Compares their bits with those of mma.sync on values of many kinds, and waits for it.
cudaError_t compare_warpgroups(Warpgroups* found);

/// The same, until it is known, and remembered from then on. Not to be called first while a graph
/// is captured.
cudaError_t find_warpgroups(Warpgroups* found);
/// The same, where an error counts as kUnknown.
Warpgroups warpgroups();

/// Those of products that have to agree with products of few rows. What is not known is no reason
/// to tell kinds apart later: kWarps and kEither have the same bits.
inline Instructions invariant_instructions() {
  return warpgroups() == Warpgroups::kSameBits ? Instructions::kEither : Instructions::kWarps;
}

}  // namespace llmkit::cuda
