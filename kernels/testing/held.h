#pragma once

#include "base/bf16.h"
#include "testing/testing.h"

namespace llmkit::testing {

/// Random values that are held as bf16, and the same in float32.
class Held {
 public:
  Held(size_t n, unsigned seed, size_t offset = 1)
      : floats_(n, seed, offset), halves_(n + offset), offset_(offset) {
    for (size_t i = 0; i < n; ++i) {
      halves_[offset + i] = to_bf16(floats_[i]);
      floats_[i] = from_bf16(halves_[offset + i]);
    }
  }
  const uint16_t* data() const { return halves_.data() + offset_; }
  const float* floats() const { return floats_.data(); }
  size_t size() const { return floats_.size(); }

 private:
  Buffer floats_;
  std::vector<uint16_t> halves_;
  size_t offset_;
};

/// Room for results that are held as bf16, with something behind them.
class HeldResult {
 public:
  explicit HeldResult(size_t n) : halves_(n + 2, kUntouched) {}
  uint16_t* data() { return halves_.data() + 1; }
  /// They are these values, rounded, and nothing lies around them.
  void check(Checks& checks, const char* what, const float* want) const {
    for (size_t i = 1; i + 1 < halves_.size(); ++i)
      checks.that(what, halves_[i] == to_bf16(want[i - 1]));
    checks.that("nothing around", halves_.front() == kUntouched && halves_.back() == kUntouched);
  }

 private:
  static constexpr uint16_t kUntouched = 0x1234;
  std::vector<uint16_t> halves_;
};

}  // namespace llmkit::testing
