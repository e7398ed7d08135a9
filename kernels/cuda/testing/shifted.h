#pragma once

#include "base/bf16.h"
#include "cuda/testing/testing.h"

namespace llmkit::cuda::testing {

/// Values on the device that begin `offset` elements into their memory, so that nothing is aligned,
/// with elements around them that must stay as they are.
template <class T>
class Shifted {
 public:
  Shifted(const std::vector<T>& values, size_t offset)
      : size_(values.size()), offset_(offset), memory_(surrounded(values, offset)) {}
  /// For results: every byte is 0xff, which is NaN or -1.
  Shifted(size_t n, size_t offset) : Shifted(poison(n), offset) {}

  T* data() { return memory_.data() + offset_; }
  const T* data() const { return memory_.data() + offset_; }
  size_t size() const { return size_; }

  /// Waits for the stream.
  std::vector<T> values() const {
    const std::vector<T> all = memory_.values();
    return {all.begin() + offset_, all.begin() + offset_ + size_};
  }
  /// The same; a surrounding element that has changed fails.
  std::vector<T> values(Checks& checks) const {
    const std::vector<T> all = memory_.values();
    const std::vector<T> got(all.begin() + offset_, all.begin() + offset_ + size_);
    checks.that("what lies around an array is left alone",
                same_bytes(all, surrounded(got, offset_)));
    return got;
  }

 private:
  static constexpr size_t kAfter = 9;

  static std::vector<T> poison(size_t n) {
    std::vector<T> values(n);
    if (n > 0) std::memset(values.data(), 0xff, n * sizeof(T));
    return values;
  }
  static std::vector<T> surrounded(const std::vector<T>& values, size_t offset) {
    std::vector<T> all(offset + values.size() + kAfter);
    std::memset(all.data(), 0x5a, all.size() * sizeof(T));
    std::copy(values.begin(), values.end(), all.begin() + offset);
    return all;
  }

  size_t size_, offset_;
  DeviceVector<T> memory_;
};

/// Values drawn at random, on the device and on the host.
struct Random {
  std::vector<float> host;
  Shifted<float> device;
  Random(size_t n, unsigned seed, size_t offset)
      : host(llmkit::testing::random_normal(n, seed)), device(host, offset) {}
  const float* data() const { return device.data(); }
  float operator[](size_t i) const { return host[i]; }
};

/// The bits of the nearest bf16 values.
inline std::vector<uint16_t> halves_of(const std::vector<float>& values) {
  std::vector<uint16_t> halves;
  for (float value : values) halves.push_back(to_bf16(value));
  return halves;
}

/// Values of bf16 drawn at random, on the device as float32 and as they may be held.
struct Held {
  Shifted<uint16_t> halves;
  Shifted<float> floats;
  Held(size_t n, unsigned seed, size_t offset)
      : halves(halves_of(llmkit::testing::random_normal(n, seed)), offset),
        floats(floats_of(halves.values()), offset) {}

 private:
  static std::vector<float> floats_of(const std::vector<uint16_t>& halves) {
    std::vector<float> values;
    for (uint16_t half : halves) values.push_back(from_bf16(half));
    return values;
  }
};

}  // namespace llmkit::cuda::testing
