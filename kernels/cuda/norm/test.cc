#include "base/bf16.h"
#include "cpu/norm/reference.h"
#include "cuda/norm/norm.h"
#include "cuda/testing/shifted.h"

using namespace llmkit;
using namespace llmkit::cuda::testing;
namespace gpu = llmkit::cuda;

namespace {

struct Case {
  size_t rows, cols, offset;
  bool centered;
};

/// x, weight and bias of a case, on the device and on the host.
struct Inputs {
  Random x, weight, bias, dy;
  NormArgs device, host;
  const float* device_bias;

  explicit Inputs(const Case& c)
      : x(c.rows * c.cols, 1, c.offset),
        weight(c.cols, 2, c.offset),
        bias(c.cols, 3, c.offset),
        dy(c.rows * c.cols, 4, c.offset),
        device{c.rows, c.cols, x.data(), weight.data(), 1e-5f, c.centered},
        host{c.rows, c.cols, x.host.data(), weight.host.data(), 1e-5f, c.centered},
        device_bias(c.centered ? bias.data() : nullptr) {}
};

struct Gradients {
  std::vector<float> dx, dweight, dbias;
};

Gradients gradients_of(Checks& checks, const Inputs& in, const NormArgs& p) {
  Shifted<float> dx(p.rows * p.cols, 1), dweight(p.cols, 1), dbias(p.cols, 2);
  const gpu::NormGradArgs args = {p, in.dy.data(), dx.data(), dweight.data(), dbias.data()};
  DeviceVector<char> workspace(gpu::norm_grad_workspace(args));
  expect(gpu::norm_grad(args, workspace.data(), stream()), "norm_grad");
  return {dx.values(checks), dweight.values(checks), dbias.values(checks)};
}

void check_parameters(Checks& checks, const Inputs& in, const Gradients& got) {
  const size_t rows = in.host.rows, cols = in.host.cols;
  std::vector<Sum> weight_sums(cols), bias_sums(cols);
  for (size_t r = 0; r < rows; ++r) {
    const NormRowReference row(in.host, r);
    for (size_t c = 0; c < cols; ++c) {
      weight_sums[c].add(in.dy[r * cols + c] * row.x[c]);
      bias_sums[c].add(in.dy[r * cols + c]);
    }
  }
  const double ulps = 2 * ulps_of(cols);
  for (size_t c = 0; c < cols; ++c) {
    const double scale = weight_sums[c].scale() + bias_sums[c].scale();
    checks.near("dweight", got.dweight[c], weight_sums[c].value, ulps + ulps_of(rows), 4 * scale);
    checks.near("dbias", got.dbias[c], bias_sums[c].value, ulps_of(rows), scale);
  }
}

void check_rows(Checks& checks, const Inputs& in, const std::vector<float>& y,
                const std::vector<float>& dx) {
  const size_t cols = in.host.cols;
  const double ulps = 2 * ulps_of(cols);
  for (size_t r = 0; r < in.host.rows; ++r) {
    const NormRowReference want(in.host, r);
    const std::vector<double> want_dx = want.grad_input(in.host, in.dy.host.data() + r * cols);
    double largest = 0;  // of the terms that cancel
    for (size_t c = 0; c < cols; ++c)
      largest = std::fmax(largest, std::fabs(want.scale * in.dy[r * cols + c] * in.weight[c]));
    for (size_t c = 0; c < cols; ++c) {
      const double shift = in.host.centered ? in.bias[c] : 0;
      checks.near("y", y[r * cols + c], want.x[c] * in.weight[c] + shift, ulps,
                  std::fmax(1, want.scale) * (std::fabs(in.weight[c]) + std::fabs(shift)));
      checks.near("dx", dx[r * cols + c], want_dx[c], 2 * ulps, 4 * largest);
    }
  }
}

std::vector<float> norm_of(Checks& checks, const NormArgs& p, const float* bias, size_t offset) {
  Shifted<float> y(p.rows * p.cols, offset);
  Shifted<uint16_t> rounded(p.rows * p.cols, offset);
  auto* const halves = reinterpret_cast<gpu::bf16*>(rounded.data());
  expect(gpu::norm(p, bias, y.data(), halves, stream()), "norm");
  const std::vector<float> values = y.values(checks);
  const std::vector<uint16_t> got = rounded.values(checks);
  for (size_t i = 0; i < got.size(); ++i) checks.that("rounded", got[i] == to_bf16(values[i]));
  return values;
}

void check_in_place(Checks& checks, const Inputs& in, const std::vector<float>& y,
                    const std::vector<float>& dx) {
  Shifted<float> values(in.x.host, 1), gradients(in.dy.host, 3);
  const NormArgs same = {in.device.rows,   in.device.cols, values.data(),
                         in.device.weight, in.device.eps,  in.device.centered};
  expect(gpu::norm(same, in.device_bias, values.data(), nullptr, stream()), "in place");
  checks.that("in place", same_bytes(values.values(checks), y));
  const gpu::NormGradArgs grad = {in.device, gradients.data(), gradients.data(), nullptr, nullptr};
  checks.that("dx alone needs no workspace", gpu::norm_grad_workspace(grad) == 0);
  expect(gpu::norm_grad(grad, nullptr, stream()), "dx over dy");
  checks.that("dx over dy", same_bytes(gradients.values(checks), dx));
}

void check_weight_alone(Checks& checks, const Inputs& in, const std::vector<float>& dweight) {
  Shifted<float> alone(in.device.cols, 1);
  const gpu::NormGradArgs args = {in.device, in.dy.data(), nullptr, alone.data(), nullptr};
  DeviceVector<char> workspace(gpu::norm_grad_workspace(args));
  expect(gpu::norm_grad(args, workspace.data(), stream()), "dweight alone");
  checks.that("dweight alone", same_bytes(alone.values(checks), dweight));
}

void check(Checks& checks, const Case& c) {
  const Inputs in(c);
  const std::vector<float> y = norm_of(checks, in.device, in.device_bias, c.offset);
  const Gradients got = gradients_of(checks, in, in.device);
  check_rows(checks, in, y, got.dx);
  check_parameters(checks, in, got);
  check_in_place(checks, in, y, got.dx);
  check_weight_alone(checks, in, got.dweight);
  for (size_t r = 0; r < c.rows && r < 5; ++r) {
    NormArgs alone = in.device;
    alone.rows = 1;
    alone.x = alone.x.from(r * c.cols);
    checks.same("a row alone", norm_of(checks, alone, in.device_bias, r % 4).data(),
                y.data() + r * c.cols, c.cols);
  }
}

/// x of bf16 gives the bits of the same values in float32; y as bf16 is those rounded.
void check_held(Checks& checks, const Case& c) {
  const Inputs in(c);
  const Held x(c.rows * c.cols, 5, c.offset);
  NormArgs floats = in.device, halves = in.device;
  floats.x = x.floats.data();
  halves.x = x.halves.data();
  const std::vector<float> y = norm_of(checks, floats, in.device_bias, c.offset);
  checks.that("y of bf16", same_bytes(norm_of(checks, halves, in.device_bias, 0), y));
  for (const NormArgs& p : {floats, halves}) {
    Shifted<uint16_t> held(y.size(), c.offset);
    expect(gpu::norm(p, in.device_bias, held.data(), nullptr, stream()), "norm");
    checks.that("y as bf16", same_bytes(held.values(checks), halves_of(y)));
  }
  const Gradients want = gradients_of(checks, in, floats), got = gradients_of(checks, in, halves);
  checks.that("dx of bf16", same_bytes(got.dx, want.dx));
  checks.that("dweight of bf16", same_bytes(got.dweight, want.dweight));
  checks.that("dbias of bf16", same_bytes(got.dbias, want.dbias));
}

void check_all(Checks& checks) {
  for (const bool centered : {false, true}) {
    for (size_t cols : kSizes)
      for (size_t offset : {0, 1, 3}) check(checks, {3, cols, offset, centered});
    for (size_t cols : {256, 257, 2048, 4096, 4100, 8192, 8196, 16385})
      for (size_t offset : {0, 1}) check(checks, {2, cols, offset, centered});
    for (size_t cols : {1, 7, 80, 256, 260, 4096, 4101, 8192, 8196})
      for (size_t offset : {0, 1}) check_held(checks, {3, cols, offset, centered});
    check_held(checks, {130, 80, 0, centered});
    check(checks, {300, 80, 1, centered});
    check(checks, {257, 24, 0, centered});
    check(checks, {0, 80, 1, centered});
  }
}

}  // namespace

int main() { return run_on_device(check_all); }
