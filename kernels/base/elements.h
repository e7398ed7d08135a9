#pragma once

#include <cstddef>
#include <cstdint>

// In training, activations that a gradient keeps may be held as bf16: rounded when they are made,
// in half the memory. All other activations are float32.

namespace llmkit {

/// Values to read: float32, or bf16 (its 16 bits).
struct ConstElements {
  ConstElements() = default;
  ConstElements(const float* values) : data(values) {}
  ConstElements(const uint16_t* values) : data(values), is_bf16(true) {}

  /// The values where they are float32, and where they are bf16.
  const float* floats() const { return static_cast<const float*>(data); }
  const uint16_t* halves() const { return static_cast<const uint16_t*>(data); }
  /// Those from the i-th on.
  ConstElements from(size_t i) const {
    return is_bf16 ? ConstElements(halves() + i) : ConstElements(floats() + i);
  }

  const void* data = nullptr;
  bool is_bf16 = false;
};

/// Values to write: float32, or rounded to bf16.
struct Elements {
  Elements() = default;
  Elements(float* values) : data(values) {}
  Elements(uint16_t* values) : data(values), is_bf16(true) {}
  operator ConstElements() const {
    return is_bf16 ? ConstElements(halves()) : ConstElements(floats());
  }

  float* floats() const { return static_cast<float*>(data); }
  uint16_t* halves() const { return static_cast<uint16_t*>(data); }
  Elements from(size_t i) const {
    return is_bf16 ? Elements(halves() + i) : Elements(floats() + i);
  }

  void* data = nullptr;
  bool is_bf16 = false;
};

}  // namespace llmkit
