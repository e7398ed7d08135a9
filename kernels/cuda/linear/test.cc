#include "cpu/gemm/reference.h"
#include "cpu/linear/linear.h"
#include "cpu/weight/reference.h"
#include "cuda/linear/linear.h"
#include "cuda/weight/testing.h"

using namespace llmkit;
using namespace llmkit::cuda::testing;

namespace {

std::vector<float> product(const WeightView& weight, size_t m, const std::vector<float>& x,
                           const std::vector<float>& bias, const std::vector<float>& residual) {
  const DeviceVector<float> x_there(x), bias_there(bias);
  DeviceVector<float> y(residual);
  cuda::LinearArgs args;
  args.weight = weight;
  args.m = m;
  args.x = x_there.data();
  args.bias = bias_there.data();
  args.residual = y.data();
  args.y = y.data();
  DeviceVector<char> workspace(cuda::linear_workspace(args));
  expect(cuda::linear(args, workspace.data(), stream()), "linear");
  return y.values();
}

std::vector<float> gradient(const WeightView& weight, size_t m, const std::vector<float>& dy) {
  const DeviceVector<float> dy_there(dy);
  DeviceVector<float> dx(m * weight.cols);
  cuda::LinearGradInputArgs args;
  args.weight = weight;
  args.m = m;
  args.dy = dy_there.data();
  args.dx = dx.data();
  DeviceVector<char> workspace(cuda::linear_grad_input_workspace(args));
  expect(cuda::linear_grad_input(args, workspace.data(), stream()), "linear_grad_input");
  return dx.values();
}

/// Against sums in double, and against the CPU's kernels: both are that far from the sum at most.
void check_case(Checks& checks, const WeightCase& c, size_t m) {
  const RandomWeight random(c);
  const UploadedWeight weight(random.view);
  const size_t rows = c.rows, cols = c.cols;
  const std::vector<float> x = random_normal(m * cols, 1), dy = random_normal(m * rows, 2);
  const std::vector<float> bias = random_normal(rows, 3), residual = random_normal(m * rows, 4);
  std::vector<float> values(rows * cols), cpu_y(m * rows), cpu_dx(m * cols);
  for (size_t i = 0; i < values.size(); ++i) values[i] = decode_reference(random.view, i);
  linear(random.view, m, x.data(), bias.data(), cpu_y.data());
  linear_grad_input(random.view, m, dy.data(), cpu_dx.data());
  const std::vector<float> y = product(weight.view(), m, x, bias, residual);
  const std::vector<float> dx = gradient(weight.view(), m, dy);
  for (size_t i = 0; i < y.size(); ++i) {
    const size_t row = i % rows;
    const Sum sum = dot_reference(cols, &x[i / rows * cols], 1, &values[row * cols], 1);
    const double scale = sum.scale() + std::fabs(residual[i]) + std::fabs(bias[row]);
    checks.near("y", y[i], sum.value + bias[row] + residual[i], ulps_of(cols), scale);
    checks.near("y of the CPU", y[i], double{cpu_y[i]} + residual[i], 2 * ulps_of(cols), scale);
  }
  for (size_t i = 0; i < dx.size(); ++i) {
    const Sum sum = dot_reference(rows, &dy[i / cols * rows], 1, &values[i % cols], cols);
    checks.near("dx", dx[i], sum.value, ulps_of(rows), sum.scale());
    checks.near("dx of the CPU", dx[i], cpu_dx[i], 2 * ulps_of(rows), sum.scale());
  }
}

void check_all(Checks& checks) {
  std::vector<WeightCase> cases = weight_cases();
  cases.push_back({WeightFormat::kF32, 200, 150, 0, false, false});
  cases.push_back({WeightFormat::kBf16, 70, 333, 0, false, false});
  cases.push_back({WeightFormat::kInt4, 130, 256, 32, false, true});
  for (const WeightCase& c : cases)
    for (const size_t m : {1, 2, 7, 16, 17, 70}) check_case(checks, c, m);
}

}  // namespace

int main() { return run_on_device(check_all); }
