#include "base/parallel.h"
#include "cpu/dropout/dropout.h"
#include "testing/held.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

uint32_t mix_reference(uint32_t h) {
  h ^= h >> 16;
  h *= 0x7feb352d;
  h ^= h >> 15;
  h *= 0x846ca68b;
  return h ^ h >> 16;
}

void check(Checks& checks, size_t rows, size_t cols, double rate) {
  const uint32_t seed = 42, stream = 7;
  const Buffer x(rows * cols, 1);
  Buffer y(rows * cols, 2);
  std::vector<int32_t> keys(2 * rows);
  for (size_t i = 0; i < keys.size(); ++i) keys[i] = static_cast<int32_t>(i * 3) - 2;
  dropout({rows, cols, x.data(), keys.data(), rate, seed, stream, y.data()});
  size_t dropped = 0;
  for (size_t i = 0; i < rows * cols; ++i) {
    uint32_t h = mix_reference(mix_reference(seed) + stream);
    h = mix_reference(h + static_cast<uint32_t>(keys[i / cols * 2]));
    h = mix_reference(h + static_cast<uint32_t>(keys[i / cols * 2 + 1]));
    h = mix_reference(h + static_cast<uint32_t>(i % cols) * 0x9e3779b9u);
    const bool drop = (h >> 8) < std::floor(rate * 0x1p24 + 0.5);
    checks.that("value", y[i] == (drop ? 0 : x[i] * static_cast<float>(1 / (1 - rate))));
    dropped += drop;
  }
  const Held held(rows * cols, 3);
  Buffer want(rows * cols, 4);
  dropout({rows, cols, held.floats(), keys.data(), rate, seed, stream, want.data()});
  dropout({rows, cols, held.data(), keys.data(), rate, seed, stream, y.data()});
  checks.same("held", y.data(), want.data(), rows * cols);
  if (rows * cols < 50000) return;
  const double n = static_cast<double>(rows * cols), share = static_cast<double>(dropped) / n;
  checks.that("the share dropped",
              std::fabs(share - rate) < 5 * std::sqrt(rate * (1 - rate) / n) + 1e-9);
}

void check_all(Checks& checks) {
  set_thread_count(3);
  for (size_t cols : kSizes)
    for (const double rate : {0.0, 0.1, 0.5, 0.999}) check(checks, 3, cols, rate);
  for (const double rate : {0.0, 0.05, 0.3}) check(checks, 500, 129, rate);
  check(checks, 0, 5, 0.1);
  check(checks, 3, 0, 0.1);
}

}  // namespace

int main() { return run(check_all); }
