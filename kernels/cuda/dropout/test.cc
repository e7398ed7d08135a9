#include "cuda/dropout/dropout.h"
#include "cuda/testing/shifted.h"

using namespace llmkit;
using namespace llmkit::cuda::testing;
namespace gpu = llmkit::cuda;

namespace {

uint32_t mix_reference(uint32_t h) {
  h ^= h >> 16;
  h *= 0x7feb352d;
  h ^= h >> 15;
  h *= 0x846ca68b;
  return h ^ h >> 16;
}

void check(Checks& checks, size_t rows, size_t cols, double rate, size_t offset) {
  const uint32_t seed = 42, of_stream = 7;
  const Random x(rows * cols, 1, offset);
  std::vector<int32_t> keys(2 * rows);
  for (size_t i = 0; i < keys.size(); ++i) keys[i] = static_cast<int32_t>(i * 3) - 2;
  const Shifted<int32_t> device_keys(keys, 1);
  Shifted<float> y(rows * cols, offset), in_place(x.host, 3);
  DropoutArgs p = {rows, cols, x.data(), device_keys.data(), rate, seed, of_stream, y.data()};
  expect(gpu::dropout(p, stream()), "dropout");
  const std::vector<float> got = y.values(checks);
  for (size_t i = 0; i < rows * cols; ++i) {
    uint32_t h = mix_reference(mix_reference(seed) + of_stream);
    h = mix_reference(h + static_cast<uint32_t>(keys[i / cols * 2]));
    h = mix_reference(h + static_cast<uint32_t>(keys[i / cols * 2 + 1]));
    h = mix_reference(h + static_cast<uint32_t>(i % cols) * 0x9e3779b9u);
    const bool drop = (h >> 8) < std::floor(rate * 0x1p24 + 0.5);
    checks.that("value", got[i] == (drop ? 0 : x[i] * static_cast<float>(1 / (1 - rate))));
  }
  p.x = in_place.data();
  p.y = in_place.data();
  expect(gpu::dropout(p, stream()), "in place");
  checks.that("in place", same_bytes(in_place.values(checks), got));
  const Held held(rows * cols, 1, offset);
  Shifted<float> of_floats(rows * cols, 0), of_halves(rows * cols, 1);
  p.x = held.floats.data();
  p.y = of_floats.data();
  expect(gpu::dropout(p, stream()), "dropout");
  p.x = held.halves.data();
  p.y = of_halves.data();
  expect(gpu::dropout(p, stream()), "dropout of bf16");
  checks.that("of bf16", same_bytes(of_halves.values(checks), of_floats.values(checks)));
}

void check_all(Checks& checks) {
  for (size_t cols : kSizes)
    for (const double rate : {0.0, 0.1, 0.5, 0.999}) check(checks, 3, cols, rate, cols % 3);
  check(checks, 500, 129, 0.3, 0);
  check(checks, 2, 5000, 0.05, 1);
  check(checks, 0, 0, 0.5, 0);
}

}  // namespace

int main() { return run_on_device(check_all); }
