#pragma once

#include <cstdint>

namespace llmkit {

/// Instruction sets, as bits: a kernel lists the bits it needs.
namespace isa {
enum : uint32_t { kScalar = 0, kAvx2 = 1u << 0, kAvx512 = 1u << 1 };
}

/// The instruction sets of this machine, capped by the environment variable LLMKIT_ISA.
/// Ends the process when LLMKIT_ISA names none: a typo must not pass as a fast run.
uint32_t supported_isa();

inline bool runs_here(uint32_t required) { return (required & supported_isa()) == required; }

/// Name of the best instruction set that runs here.
const char* isa_name();

}  // namespace llmkit
