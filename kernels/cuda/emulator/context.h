#pragma once

#include <cstddef>

namespace llmkit::cuda::emulator {

/// A stack, and where on it execution stopped.
class Context {
 public:
  /// Of the code that runs now: filled when it switches away.
  Context() = default;
  /// A new stack, on which `entry` begins at the first switch to it. It must never return.
  explicit Context(void (*entry)());
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  /// Stops here, goes on there; returns when somebody switches back. `this` runs now.
  void switch_to(Context& to);

 private:
#if defined(__SANITIZE_ADDRESS__)
  static void begin();
#endif
  void* stack_ = nullptr;
  void* position_ = nullptr;
#if defined(__SANITIZE_ADDRESS__)
  // What the sanitizer wants to know.
  void (*entry_)() = nullptr;
  void* fake_stack_ = nullptr;
  const void* bottom_ = nullptr;
  size_t size_ = 0;
#endif
};

}  // namespace llmkit::cuda::emulator
