#include "cuda/rope/rope.h"
#include "cuda/testing/shifted.h"

using namespace llmkit;
using namespace llmkit::cuda::testing;
namespace gpu = llmkit::cuda;

namespace {

struct Case {
  size_t positions, heads, half, extra, offset;
};

void check_values(Checks& checks, const RopeArgs& p, const std::vector<float>& y) {
  const float* const x = p.x.floats();
  for (size_t i = 0; i < y.size(); ++i) {
    const size_t position = i / (p.heads * p.head_size), e = i % p.head_size;
    if (e >= 2 * p.half) {
      checks.that("the rest is copied", y[i] == x[i]);
      continue;
    }
    const size_t angle = position * p.half + e % p.half;
    const double other = e < p.half ? -double{x[i + p.half]} : x[i - p.half];
    const double want = double{x[i]} * p.cos[angle] + (p.inverse ? -1 : 1) * other * p.sin[angle];
    checks.near("rope", y[i], want, 4, std::fabs(x[i]) + std::fabs(other * p.sin[angle]));
  }
}

void check(Checks& checks, const Case& c) {
  const size_t head_size = 2 * c.half + c.extra, size = c.positions * c.heads * head_size;
  const Random x(size, 1, c.offset), cos(c.positions * c.half, 2, c.offset),
      sin(c.positions * c.half, 3, 0);
  for (const bool inverse : {false, true}) {
    Shifted<float> y(size, c.offset), in_place(x.host, 2);
    RopeArgs p = {c.positions, c.heads,    head_size, c.half, x.data(),
                  cos.data(),  sin.data(), y.data(),  inverse};
    expect(gpu::rope(p, stream()), "rope");
    const std::vector<float> got = y.values(checks);
    p.x = in_place.data();
    p.y = in_place.data();
    expect(gpu::rope(p, stream()), "in place");
    checks.that("in place", same_bytes(in_place.values(checks), got));
    p.x = x.host.data();
    p.cos = cos.host.data();
    p.sin = sin.host.data();
    check_values(checks, p, got);
  }
}

/// x of bf16 gives the bits of the same values in float32; y as bf16 is those rounded.
void check_held(Checks& checks, const Case& c) {
  const size_t head_size = 2 * c.half + c.extra, size = c.positions * c.heads * head_size;
  const Held x(size, 1, c.offset);
  const Random cos(c.positions * c.half, 2, 0), sin(c.positions * c.half, 3, 0);
  const auto turn = [&](const ConstElements& from, auto& to) {
    const RopeArgs p = {c.positions, c.heads,    head_size, c.half, from,
                        cos.data(),  sin.data(), to.data(), false};
    expect(gpu::rope(p, stream()), "rope");
    return to.values(checks);
  };
  Shifted<float> want(size, 0), got(size, 1);
  Shifted<uint16_t> of_floats(size, c.offset), of_halves(size, c.offset);
  const std::vector<float> y = turn(x.floats.data(), want);
  checks.that("y of bf16", same_bytes(turn(x.halves.data(), got), y));
  checks.that("y as bf16", same_bytes(turn(x.floats.data(), of_floats), halves_of(y)));
  checks.that("bf16 of bf16", same_bytes(turn(x.halves.data(), of_halves), halves_of(y)));
}

void check_all(Checks& checks) {
  for (size_t half : {1, 16, 33})
    for (size_t extra : {0, 5})
      for (size_t offset : {0, 1}) check_held(checks, {3, 2, half, extra, offset});
  for (size_t half : {0, 1, 4, 15, 16, 17, 32, 64})
    for (size_t extra : {0, 1, 20})
      for (size_t offset : {0, 1}) check(checks, {3, 2, half, extra, offset});
  check(checks, {40, 33, 48, 0, 0});
  check(checks, {2, 1, 600, 3, 0});
  check(checks, {0, 2, 16, 0, 0});
}

}  // namespace

int main() { return run_on_device(check_all); }
