#include "cpu/rope/rope.h"
#include "testing/held.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

void check(Checks& checks, size_t half, size_t extra, size_t positions = 3) {
  const size_t heads = 2, head_size = 2 * half + extra;
  const size_t size = positions * heads * head_size;
  const Buffer x(size, 1), cos(positions * half, 2), sin(positions * half, 3);
  Buffer y(size, 4);
  RopeArgs p = {positions,  heads,      head_size, half, x.data(),
                cos.data(), sin.data(), y.data(),  false};
  for (const bool inverse : {false, true}) {
    p.inverse = inverse;
    rope(p);
    for (size_t i = 0; i < size; ++i) {
      const size_t position = i / (heads * head_size), e = i % head_size;
      double want = x[i];
      if (e < 2 * half) {
        const size_t angle = position * half + e % half;
        const double other = e < half ? -double{x[i + half]} : x[i - half];
        want = double{x[i]} * cos[angle] + (inverse ? -1 : 1) * other * sin[angle];
        checks.near("rope", y[i], want, 4,
                    std::fabs(x[i]) + std::fabs(other) * std::fabs(sin[angle]));
      } else {
        checks.that("the rest is copied", y[i] == x[i]);
      }
    }
  }
  const Held held(size, 5);
  HeldResult rounded(size);
  p.x = held.floats();
  rope(p);
  RopeArgs of_held = p;
  of_held.x = held.data();
  of_held.y = rounded.data();
  rope(of_held);
  rounded.check(checks, "held", y.data());
  p.x = x.data();
  rope(p);
  std::vector<float> in_place(x.data(), x.data() + size);
  p.x = p.y = in_place.data();
  rope(p);
  checks.same("in place", in_place.data(), y.data(), size);
}

void check_all(Checks& checks) {
  for (size_t half : {0, 1, 4, 15, 16, 17, 32, 40, 48, 63, 64, 65})
    for (size_t extra : {0, 1, 20}) check(checks, half, extra);
  check(checks, 16, 1, 0);
}

}  // namespace

int main() { return run(check_all); }
