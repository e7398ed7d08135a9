#include "base/cpu_features.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace llmkit {
namespace {

uint32_t detected_isa() {
  uint32_t found = isa::kScalar;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("f16c"))
    found |= isa::kAvx2;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
    found |= isa::kAvx512;
#endif
  return found;
}

uint32_t allowed_isa() {
  const char* name = std::getenv("LLMKIT_ISA");
  if (name == nullptr || *name == '\0' || std::strcmp(name, "avx512") == 0)
    return isa::kAvx512 | isa::kAvx2;
  if (std::strcmp(name, "avx2") == 0) return isa::kAvx2;
  if (std::strcmp(name, "scalar") == 0) return isa::kScalar;
  std::fprintf(stderr, "LLMKIT_ISA must be scalar, avx2 or avx512, got '%s'\n", name);
  std::exit(2);
}

}  // namespace

uint32_t supported_isa() {
  static const uint32_t supported = detected_isa() & allowed_isa();
  return supported;
}

const char* isa_name() {
  if (runs_here(isa::kAvx512)) return "avx512";
  return runs_here(isa::kAvx2) ? "avx2" : "scalar";
}

}  // namespace llmkit
