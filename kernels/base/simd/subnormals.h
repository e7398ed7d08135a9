#pragma once

#include <cstdint>

namespace llmkit {
namespace {  // internal linkage: as in the vector headers

/// Whether subnormal numbers are zero on this thread while it lives.
class SubnormalMode {
 public:
  explicit SubnormalMode(bool zero) { set(zero ? before_ | kZero : before_ & ~kZero); }
  ~SubnormalMode() { set(before_); }
  SubnormalMode(const SubnormalMode&) = delete;
  SubnormalMode& operator=(const SubnormalMode&) = delete;

 private:
  static constexpr uint32_t kZero = 0x8040;
  static uint32_t get() {
    uint32_t control;
    __asm__ volatile("stmxcsr %0" : "=m"(control)::"memory");
    return control;
  }
  static void set(uint32_t control) { __asm__ volatile("ldmxcsr %0" ::"m"(control) : "memory"); }
  const uint32_t before_ = get();
};

/// Subnormal numbers are zero, as they are to products of bf16, in tiles or vectors.
struct FlushSubnormals : SubnormalMode {
  FlushSubnormals() : SubnormalMode(true) {}
};
/// They count, also within what flushes them.
struct KeepSubnormals : SubnormalMode {
  KeepSubnormals() : SubnormalMode(false) {}
};

}  // namespace
}  // namespace llmkit
