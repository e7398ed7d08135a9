#include "base/bf16.h"
#include "cpu/activation/reference.h"
#include "cuda/activation/activation.h"
#include "cuda/testing/shifted.h"

using namespace llmkit;
using namespace llmkit::cuda::testing;
namespace gpu = llmkit::cuda;

namespace {

/// About a dozen rounded operations, each on values up to 1 + |x|.
constexpr double kUlps = 12;

std::vector<float> gated_of(Checks& checks, Activation f, const std::vector<float>& gate,
                            const std::vector<float>& up, size_t offset) {
  const Shifted<float> gates(gate, offset), ups(up, 1);
  Shifted<float> y(gate.size(), offset), same(gate.size(), 1);
  Shifted<uint16_t> halves(gate.size(), offset);
  expect(gpu::gated_mlp(f, gate.size(), gates.data(), ups.data(), y.data(),
                        reinterpret_cast<gpu::bf16*>(halves.data()), stream()),
         "gated_mlp");
  expect(gpu::gated_mlp(f, gate.size(), gates.data(), ups.data(), same.data(), nullptr, stream()),
         "gated_mlp");
  const std::vector<float> values = y.values(checks);
  const std::vector<uint16_t> got = halves.values(checks);
  checks.that("the same without halves", same_bytes(same.values(checks), values));
  for (size_t i = 0; i < got.size(); ++i) checks.that("rounded", got[i] == to_bf16(values[i]));
  return values;
}

struct Gradients {
  std::vector<float> dgate, dup;
};

Gradients gated_grad_of(Checks& checks, Activation f, const std::vector<float>& gate,
                        const std::vector<float>& up, const std::vector<float>& dy, size_t offset) {
  const Shifted<float> gates(gate, offset), ups(up, 1), dys(dy, offset);
  Shifted<float> dgate(gate.size(), 2), dup(gate.size(), offset);
  const GatedMlpGrad args = {gates.data(), ups.data(), dys.data(), dgate.data(), dup.data()};
  expect(gpu::gated_mlp_grad(f, gate.size(), args, stream()), "gated_mlp_grad");
  return {dgate.values(checks), dup.values(checks)};
}

std::vector<float> activation_of(Checks& checks, Activation f, const std::vector<float>& x,
                                 size_t offset) {
  const Shifted<float> from(x, offset);
  Shifted<float> y(x.size(), offset);
  expect(gpu::activation(f, x.size(), from.data(), y.data(), stream()), "activation");
  return y.values(checks);
}

void check(Checks& checks, Activation f, size_t n, size_t offset) {
  std::vector<float> x = random_normal(n, 1);
  for (float& value : x) value *= 4;
  const std::vector<float> up = random_normal(n, 3);
  const Shifted<float> from(x, offset);
  const Random dy(n, 2, offset);
  Shifted<float> gradient(n, offset);
  expect(gpu::activation_grad(f, n, from.data(), dy.data(), gradient.data(), stream()),
         "activation_grad");
  const std::vector<float> y = activation_of(checks, f, x, offset), dx = gradient.values(checks);
  const std::vector<float> gated = gated_of(checks, f, x, up, offset);
  const Gradients grad = gated_grad_of(checks, f, x, up, dy.host, offset);
  for (size_t i = 0; i < n; ++i) {
    const double scale = 1 + std::fabs(x[i]), grown = scale * std::fabs(dy[i]);
    checks.near("y", y[i], activation_reference(f, x[i]), kUlps, scale);
    checks.near("dx", dx[i], dy[i] * slope_reference(f, x[i]), kUlps, grown);
    checks.that("gated", gated[i] == y[i] * up[i]);
    checks.near("dgate", grad.dgate[i], double{dx[i]} * up[i], 4, grown * std::fabs(up[i]));
    checks.near("dup", grad.dup[i], double{dy[i]} * y[i], 8, grown);
  }
}

/// Inputs of bf16 give the bits of the same values in float32; y as bf16 is those rounded.
void check_held(Checks& checks, Activation f, size_t n, size_t offset) {
  const Held gate(n, 1, offset), up(n, 2, 0);
  const Random dy(n, 3, 1);
  Shifted<float> y(n, 0), dx(n, 0), want_dx(n, 0);
  const std::vector<float> want = activation_of(checks, f, gate.floats.values(), 0);
  expect(gpu::activation(f, n, gate.halves.data(), y.data(), stream()), "activation");
  checks.that("y of bf16", same_bytes(y.values(checks), want));
  expect(gpu::activation_grad(f, n, gate.halves.data(), dy.data(), dx.data(), stream()), "grad");
  expect(gpu::activation_grad(f, n, gate.floats.data(), dy.data(), want_dx.data(), stream()),
         "grad");
  checks.that("dx of bf16", same_bytes(dx.values(checks), want_dx.values(checks)));

  const std::vector<float> gated =
      gated_of(checks, f, gate.floats.values(), up.floats.values(), offset);
  expect(gpu::gated_mlp(f, n, gate.halves.data(), up.halves.data(), y.data(), nullptr, stream()),
         "gated_mlp");
  checks.that("gated of bf16", same_bytes(y.values(checks), gated));
  const Gradients want_grad =
      gated_grad_of(checks, f, gate.floats.values(), up.floats.values(), dy.host, offset);
  Shifted<float> dgate(n, 1), dup(n, 0);
  const GatedMlpGrad args = {gate.halves.data(), up.halves.data(), dy.data(), dgate.data(),
                             dup.data()};
  expect(gpu::gated_mlp_grad(f, n, args, stream()), "gated_mlp_grad");
  checks.that("dgate of bf16", same_bytes(dgate.values(checks), want_grad.dgate));
  checks.that("dup of bf16", same_bytes(dup.values(checks), want_grad.dup));

  const auto check_rounded = [&](const std::vector<float>& want, const auto& call) {
    Shifted<uint16_t> held(n, offset);
    expect(call(held.data()), "to bf16");
    checks.that("y as bf16", same_bytes(held.values(checks), halves_of(want)));
  };
  for (const ConstElements& x :
       {ConstElements(gate.floats.data()), ConstElements(gate.halves.data())})
    check_rounded(want, [&](Elements to) { return gpu::activation(f, n, x, to, stream()); });
  check_rounded(gated, [&](Elements to) {
    return gpu::gated_mlp(f, n, gate.halves.data(), up.halves.data(), to, nullptr, stream());
  });
  check_rounded(gated, [&](Elements to) {
    return gpu::gated_mlp(f, n, gate.floats.data(), up.floats.data(), to, nullptr, stream());
  });
}

void check_far(Checks& checks) {
  const std::vector<float> x = {-1e30f, -200, -90, 90, 200, 1e30f, 0};
  for (size_t i = 0; i < kActivations; ++i) {
    const auto f = static_cast<Activation>(i);
    const std::vector<float> y = activation_of(checks, f, x, 0);
    for (size_t j = 0; j < x.size(); ++j)
      checks.near(kActivationNames[i], y[j], activation_reference(f, x[j]), 4, 1e-30);
  }
}

void check_all(Checks& checks) {
  for (size_t f = 0; f < kActivations; ++f) {
    for (size_t n : kSizes)
      for (size_t offset : {0, 1, 3}) check(checks, static_cast<Activation>(f), n, offset);
    for (size_t n : {1, 7, 1030})
      for (size_t offset : {0, 1}) check_held(checks, static_cast<Activation>(f), n, offset);
    check(checks, static_cast<Activation>(f), 0, 0);
    check(checks, static_cast<Activation>(f), 9000, 1);
  }
  check_far(checks);
}

}  // namespace

int main() { return run_on_device(check_all); }
