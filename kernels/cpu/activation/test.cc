#include "base/parallel.h"
#include "cpu/activation/reference.h"
#include "testing/held.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

/// About a dozen rounded operations, each on values up to 1 + |x|.
constexpr double kUlps = 12;

/// What is held as bf16 is computed with as its values in float32 are; results are rounded.
void check_held(Checks& checks, Activation f, size_t n, size_t offset) {
  const Held x(n, 1, offset), up(n, 2, offset);
  const Buffer dy(n, 3);
  HeldResult y(n);
  Buffer want(n, 4), got(n, 5), want2(n, 6), got2(n, 7);
  activation(f, n, x.floats(), want.data());
  activation(f, n, x.data(), y.data());
  y.check(checks, "held y", want.data());
  activation_grad(f, n, x.floats(), dy.data(), want.data());
  activation_grad(f, n, x.data(), dy.data(), got.data());
  checks.same("held dx", got.data(), want.data(), n);
  gated_mlp(f, n, x.floats(), up.floats(), want.data());
  gated_mlp(f, n, x.data(), up.data(), y.data());
  y.check(checks, "held gated", want.data());
  gated_mlp(f, n, x.floats(), up.data(), got.data());
  checks.same("half of it held", got.data(), want.data(), n);
  gated_mlp_grad(f, n, {x.floats(), up.floats(), dy.data(), want.data(), want2.data()});
  gated_mlp_grad(f, n, {x.data(), up.data(), dy.data(), got.data(), got2.data()});
  checks.same("held dgate", got.data(), want.data(), n);
  checks.same("held dup", got2.data(), want2.data(), n);
}

void check(Checks& checks, Activation f, size_t n, size_t offset) {
  Buffer x(n, 1, offset), dx(n, 4, offset), y(n, 5, offset), dup(n, 6);
  const Buffer dy(n, 2, offset), up(n, 3);
  for (size_t i = 0; i < n; ++i) x[i] *= 4;
  activation(f, n, x.data(), y.data());
  activation_grad(f, n, x.data(), dy.data(), dx.data());
  for (size_t i = 0; i < n; ++i) {
    const double scale = 1 + std::fabs(x[i]);
    checks.near("y", y[i], activation_reference(f, x[i]), kUlps, scale);
    checks.near("dx", dx[i], dy[i] * slope_reference(f, x[i]), kUlps, scale * std::fabs(dy[i]));
  }
  gated_mlp(f, n, x.data(), up.data(), dup.data());
  for (size_t i = 0; i < n; ++i) checks.that("gated", dup[i] == y[i] * up[i]);
  Buffer dgate(n, 7);
  gated_mlp_grad(f, n, {x.data(), up.data(), dy.data(), dgate.data(), dup.data()});
  for (size_t i = 0; i < n; ++i) {
    const double scale = (1 + std::fabs(x[i])) * std::fabs(dy[i]);
    checks.near("dgate", dgate[i], double{dx[i]} * up[i], 4, scale * std::fabs(up[i]));
    checks.near("dup", dup[i], double{dy[i]} * y[i], 8, scale);
  }
  check_held(checks, f, n, offset);
}

void check_far(Checks& checks) {
  const float x[] = {-1e30f, -200, -90, 90, 200, 1e30f, 0};
  float y[7];
  for (size_t f = 0; f < kActivations; ++f) {
    activation(static_cast<Activation>(f), 7, x, y);
    for (size_t i = 0; i < 7; ++i)
      checks.near(kActivationNames[f], y[i], activation_reference(static_cast<Activation>(f), x[i]),
                  4, 1e-30);
  }
}

void check_all(Checks& checks) {
  set_thread_count(2);
  for (size_t f = 0; f < kActivations; ++f) {
    for (size_t n : kSizes)
      for (size_t offset : kOffsets) check(checks, static_cast<Activation>(f), n, offset);
    for (size_t n : {0, 40000}) check(checks, static_cast<Activation>(f), n, 1);
  }
  check_far(checks);
}

}  // namespace

int main() { return run(check_all); }
