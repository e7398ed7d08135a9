#include "base/bf16.h"
#include "base/parallel.h"
#include "cpu/activation/reference.h"
#include "testing/testing.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

/// About a dozen rounded operations, each on values up to 1 + |x|.
constexpr double kUlps = 12;

/// The gated unit that keeps its inputs in bf16: the same value, and its gradient at what was kept.
void check_kept(Checks& checks, Activation f, const Buffer& gate, const Buffer& up,
                const Buffer& dy, size_t offset) {
  const size_t n = gate.size();
  Buffer y(n, 1, offset), want(n, 2), dgate(n, 3, offset), dup(n, 4), want_dgate(n, 5),
      want_dup(n, 6), rounded_gate(n, 7), rounded_up(n, 8);
  std::vector<uint16_t> kept(2 * n + offset);
  uint16_t* const halves = kept.data() + offset;
  gated_mlp(f, n, gate.data(), up.data(), want.data());
  gated_mlp_keep(f, n, gate.data(), up.data(), y.data(), halves);
  checks.same("keeping", y.data(), want.data(), n);
  for (size_t i = 0; i < n; ++i) {
    rounded_gate[i] = from_bf16(to_bf16(gate[i]));
    rounded_up[i] = from_bf16(to_bf16(up[i]));
    checks.that("kept gate", halves[i] == to_bf16(gate[i]));
    checks.that("kept up", halves[n + i] == to_bf16(up[i]));
  }
  gated_mlp(f, n, rounded_gate.data(), rounded_up.data(), want.data());
  gated_mlp_kept(f, n, halves, y.data());
  checks.same("from what was kept", y.data(), want.data(), n);
  gated_mlp_grad(f, n, {rounded_gate.data(), rounded_up.data(), dy.data(), want_dgate.data(),
                        want_dup.data()});
  gated_mlp_kept_grad(f, n, {halves, dy.data(), dgate.data(), dup.data()});
  checks.same("dgate from what was kept", dgate.data(), want_dgate.data(), n);
  checks.same("dup from what was kept", dup.data(), want_dup.data(), n);
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
  check_kept(checks, f, x, up, dy, offset);
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
    check(checks, static_cast<Activation>(f), 40000, 1);
  }
  check_far(checks);
}

}  // namespace

int main() { return run(check_all); }
