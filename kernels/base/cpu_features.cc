#include "base/cpu_features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif
#if defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace llmkit {
namespace {

constexpr uint32_t kUpToAvx512 = isa::kAvx2 | isa::kAvx512 | isa::kAvx512Vnni | isa::kAvx512Bf16;

/// Asks the system for the tile registers, for all threads of the process. They make every signal
/// frame 8 KB larger, so the answer may be no.
bool system_grants_tiles() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // asm/prctl.h of newer systems
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

#if defined(__x86_64__)
/// The sets that only some machines with AVX-512 have. Compilers differ in the names they know, so
/// the bits of the CPU are read: leaf 7 of cpuid.
uint32_t beyond_avx512() {
  uint32_t found = isa::kScalar, a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return found;
  constexpr uint32_t kTiles = 1u << 22 | 1u << 24 | 1u << 25;  // AMX_BF16, AMX_TILE, AMX_INT8
  if (c & 1u << 11) found |= isa::kAvx512Vnni;
  if ((d & kTiles) == kTiles) found |= isa::kAmx;
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 5)) found |= isa::kAvx512Bf16;
  return found;
}
#endif

#if defined(__aarch64__)
bool has_dot_products() {
#if defined(__linux__)
  constexpr unsigned long kDotProducts = 1ul << 20;  // HWCAP_ASIMDDP
  return (getauxval(AT_HWCAP) & kDotProducts) != 0;
#elif defined(__APPLE__)
  int has = 0;
  size_t size = sizeof has;
  return sysctlbyname("hw.optional.arm.FEAT_DotProd", &has, &size, nullptr, 0) == 0 && has != 0;
#else
  return false;
#endif
}
#endif

uint32_t detected_isa() {
  uint32_t found = isa::kScalar;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("f16c"))
    found |= isa::kAvx2;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
    found |= isa::kAvx512 | beyond_avx512();
#elif defined(__aarch64__)
  if (has_dot_products()) found |= isa::kNeon;
#endif
  return found;
}

uint32_t allowed_isa() {
  constexpr struct {
    const char* name;
    uint32_t allowed;
  } kCaps[] = {{"scalar", isa::kScalar},
               {"avx2", isa::kAvx2},
               {"avx512", kUpToAvx512},
               {"amx", kUpToAvx512 | isa::kAmx},
               {"neon", isa::kNeon}};
  const char* const name = std::getenv("LLMKIT_ISA");
  if (name == nullptr || *name == '\0') return ~uint32_t{0};
  for (const auto& cap : kCaps)
    if (std::strcmp(name, cap.name) == 0) return cap.allowed;
  std::fprintf(stderr, "LLMKIT_ISA must be scalar, avx2, avx512, amx or neon, got '%s'\n", name);
  std::exit(2);
}

uint32_t usable_isa() {
  const uint32_t usable = detected_isa() & allowed_isa();
  return (usable & isa::kAmx) && !system_grants_tiles() ? usable & ~isa::kAmx : usable;
}

}  // namespace

uint32_t supported_isa() {
  static const uint32_t supported = usable_isa();
  return supported;
}

bool first_level_keeps_up() {
#if defined(__x86_64__)
  static const bool is_amd = __builtin_cpu_is("amd");
  return is_amd;
#else
  return false;
#endif
}

const char* isa_name() {
  if (runs_here(isa::kAmx)) return "amx";
  if (runs_here(isa::kAvx512)) return "avx512";
  if (runs_here(isa::kAvx2)) return "avx2";
  return runs_here(isa::kNeon) ? "neon" : "scalar";
}

}  // namespace llmkit
