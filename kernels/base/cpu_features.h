#pragma once

#include <cstdint>

namespace llmkit {

/// Instruction sets, as bits: a kernel lists the bits it needs.
namespace isa {
enum : uint32_t {
  kScalar = 0,
  kAvx2 = 1u << 0,        // with FMA and F16C
  kAvx512 = 1u << 1,      // F, BW, VL and DQ
  kAvx512Vnni = 1u << 2,  // these three only together with kAvx512
  kAvx512Bf16 = 1u << 3,
  kAmx = 1u << 4,   // tiles of int8 and of bf16, allowed by the system
  kNeon = 1u << 5,  // of ARMv8.2, with dot products of int8
};
}

/// The instruction sets of this machine, capped by the environment variable LLMKIT_ISA.
/// 'avx512' leaves VNNI and BF16 where there are any; without the variable everything is left.
/// Ends the process when LLMKIT_ISA names none: a typo must not pass as a fast run.
uint32_t supported_isa();

inline bool runs_here(uint32_t required) { return (required & supported_isa()) == required; }

/// Whether the first-level cache of a core can have as many requests open as keep the memory busy:
/// those of AMD can (Zen 5, measured), others are taken for Intel's, which cannot.
bool first_level_keeps_up();

/// Name of the best instruction set that runs here.
const char* isa_name();

}  // namespace llmkit
