#include <algorithm>
#include <cmath>

#include "cpu/gemm/reference.h"
#include "cpu/packed_grad/reference.h"
#include "cuda/gemm_bf16/gemm_bf16.h"
#include "cuda/rounded/rounded.h"
#include "cuda/testing/shifted.h"

using namespace llmkit;
using namespace llmkit::cuda::testing;
using cuda::bf16;

namespace {

/// Rounding errors of a sum of n products by matrix instructions, which may cut bits off.
double matrix_ulps(size_t n) { return ulps_of(n) + static_cast<double>(n) / 8; }

/// Sizes of a layer: m rows of x, a [rows, cols] weight.
struct Sizes {
  size_t m, rows, cols;
};

std::vector<float> linear(const Sizes& s, const std::vector<float>& x, const std::vector<float>& w,
                          const std::vector<float>* bias) {
  const DeviceVector<float> x_there(x), w_there(w);
  const DeviceVector<float> bias_there(bias != nullptr ? *bias : std::vector<float>());
  DeviceVector<float> y(s.m * s.rows);
  const cuda::RoundedLinearArgs args = {s.m,
                                        s.rows,
                                        s.cols,
                                        x_there.data(),
                                        w_there.data(),
                                        bias != nullptr ? bias_there.data() : nullptr,
                                        y.data()};
  DeviceVector<char> workspace(cuda::rounded_linear_workspace(args));
  expect(cuda::rounded_linear(args, workspace.data(), stream()), "rounded_linear");
  return y.values();
}

std::vector<float> grad_input(const Sizes& s, const std::vector<float>& dy,
                              const std::vector<float>& w) {
  const DeviceVector<float> dy_there(dy), w_there(w);
  DeviceVector<float> dx(s.m * s.cols);
  const cuda::RoundedGradInputArgs args = {
      s.m, s.rows, s.cols, dy_there.data(), w_there.data(), dx.data()};
  DeviceVector<char> workspace(cuda::rounded_grad_input_workspace(args));
  expect(cuda::rounded_grad_input(args, workspace.data(), stream()), "rounded_grad_input");
  return dx.values();
}

std::vector<float> grad_weight(const Sizes& s, const std::vector<float>& dy,
                               const std::vector<float>& x) {
  const DeviceVector<float> dy_there(dy), x_there(x);
  DeviceVector<float> dweight(s.rows * s.cols);
  const cuda::RoundedGradWeightArgs args = {
      s.m, s.rows, s.cols, dy_there.data(), x_there.data(), dweight.data()};
  DeviceVector<char> workspace(cuda::rounded_grad_weight_workspace(args));
  expect(cuda::rounded_grad_weight(args, workspace.data(), stream()), "rounded_grad_weight");
  return dweight.values();
}

std::vector<float> rounded(const std::vector<float>& values) {
  std::vector<float> result(values.size());
  std::transform(values.begin(), values.end(), result.begin(), bf16_reference);
  return result;
}

/// The last `rows` rows of a matrix.
std::vector<float> last_rows(const std::vector<float>& matrix, size_t rows, size_t cols) {
  return {matrix.end() - static_cast<std::ptrdiff_t>(rows * cols), matrix.end()};
}

/// Each product against sums in double of the rounded operands.
void check_values(Checks& checks, const Sizes& s) {
  const std::vector<float> w = random_normal(s.rows * s.cols, 1),
                           x = random_normal(s.m * s.cols, 2);
  const std::vector<float> dy = random_normal(s.m * s.rows, 3), bias = random_normal(s.rows, 4);
  const std::vector<float> ws = rounded(w), xs = rounded(x), dys = rounded(dy);
  const std::vector<float> y = linear(s, x, w, &bias), dx = grad_input(s, dy, w);
  const std::vector<float> dweight = grad_weight(s, dy, x);
  for (size_t i = 0; i < s.m; ++i)
    for (size_t r = 0; r < s.rows; ++r) {
      const Sum sum = dot_reference(s.cols, &xs[i * s.cols], 1, &ws[r * s.cols], 1);
      checks.near("y", y[i * s.rows + r], sum.value + bias[r], matrix_ulps(s.cols), sum.scale());
    }
  for (size_t i = 0; i < s.m; ++i)
    for (size_t c = 0; c < s.cols; ++c) {
      const Sum sum = dot_reference(s.rows, &dys[i * s.rows], 1, &ws[c], s.cols);
      checks.near("dx", dx[i * s.cols + c], sum.value, matrix_ulps(s.rows), sum.scale());
    }
  for (size_t r = 0; r < s.rows; ++r)
    for (size_t c = 0; c < s.cols; ++c) {
      const Sum sum = dot_reference(s.m, &dys[r], s.rows, &xs[c], s.cols);
      checks.near("dweight", dweight[r * s.cols + c], sum.value, matrix_ulps(s.m), sum.scale());
    }
}

/// x of bf16 gives the bits of the x that it was rounded from; y as bf16 is those rounded.
void check_held(Checks& checks, const Sizes& s) {
  const std::vector<float> w = random_normal(s.rows * s.cols, 1),
                           x = random_normal(s.m * s.cols, 2);
  const std::vector<float> dy = random_normal(s.m * s.rows, 3), bias = random_normal(s.rows, 4);
  const DeviceVector<float> w_there(w), bias_there(bias), dy_there(dy);
  const DeviceVector<uint16_t> held(halves_of(x));
  cuda::RoundedLinearArgs args = {
      s.m, s.rows, s.cols, held.data(), w_there.data(), bias_there.data(), {}};
  DeviceVector<char> workspace(cuda::rounded_linear_workspace(args));
  DeviceVector<float> y(s.m * s.rows);
  DeviceVector<uint16_t> held_y(y.size());
  for (const Elements& to : {Elements(y.data()), Elements(held_y.data())}) {
    args.y = to;
    expect(cuda::rounded_linear(args, workspace.data(), stream()), "rounded_linear");
  }
  const std::vector<float> want = linear(s, x, w, &bias);
  checks.that("y of bf16", same_bytes(y.values(), want));
  checks.that("y as bf16", same_bytes(held_y.values(), halves_of(want)));
  DeviceVector<float> dweight(w.size());
  const cuda::RoundedGradWeightArgs grad = {s.m,         s.rows,        s.cols, dy_there.data(),
                                            held.data(), dweight.data()};
  DeviceVector<char> more(cuda::rounded_grad_weight_workspace(grad));
  expect(cuda::rounded_grad_weight(grad, more.data(), stream()), "rounded_grad_weight");
  checks.that("dweight of bf16", same_bytes(dweight.values(), grad_weight(s, dy, x)));
}

/// The same bits of y and dx for every number of rows.
void check_bits(Checks& checks, const Sizes& s) {
  const std::vector<float> w = random_normal(s.rows * s.cols, 1),
                           x = random_normal(s.m * s.cols, 2);
  const std::vector<float> dy = random_normal(s.m * s.rows, 3);
  const std::vector<float> y = linear(s, x, w, nullptr), dx = grad_input(s, dy, w);
  for (const size_t m : {1, 2, 17, 64, 65, 128, 129}) {
    if (m > s.m) continue;
    const Sizes some = {m, s.rows, s.cols};
    checks.that("y, any m", same_bytes(linear(some, last_rows(x, m, s.cols), w, nullptr),
                                       last_rows(y, m, s.rows)));
    checks.that("dx, any m", same_bytes(grad_input(some, last_rows(dy, m, s.rows), w),
                                        last_rows(dx, m, s.cols)));
  }
  checks.that("dweight, again", same_bytes(grad_weight(s, dy, x), grad_weight(s, dy, x)));
}

/// y of so many blocks that larger ones are taken: the bits that few rows have.
void check_many_blocks(Checks& checks, const Sizes& s) {
  const std::vector<float> w = random_normal(s.rows * s.cols, 1),
                           x = random_normal(s.m * s.cols, 2);
  const std::vector<float> y = linear(s, x, w, nullptr);
  for (const size_t m : {1, 130})
    checks.that("y, many blocks",
                same_bytes(linear({m, s.rows, s.cols}, last_rows(x, m, s.cols), w, nullptr),
                           last_rows(y, m, s.rows)));
}

/// Rounding to bf16, ties to even, and zeros as padding; [rows, cols] and transposed.
void check_rounding(Checks& checks, size_t rows, size_t cols) {
  std::vector<float> values = random_normal(rows * cols, 1);
  values[0] = 1.00390625f;  // half-way to the next bf16 value above 1
  values[1] = 1.01171875f;  // half-way above an odd one
  values[2] = INFINITY;
  const DeviceVector<float> there(values);
  for (const bool turned : {false, true}) {
    const size_t count = turned ? rows : cols, step = cuda::bf16_step(count);
    DeviceVector<uint16_t> bits((turned ? cols : rows) * step);
    expect((turned ? cuda::round_transposed : cuda::round_to_bf16)(
               there.data(), rows, cols, reinterpret_cast<bf16*>(bits.data()), stream()),
           "rounding");
    const std::vector<uint16_t> got = bits.values();
    for (size_t i = 0; i < got.size(); ++i) {
      const size_t outer = i / step, inner = i % step;
      const size_t place = turned ? inner * cols + outer : outer * cols + inner;
      const float want = inner < count ? bf16_reference(values[place]) : 0.0f;
      const uint32_t wide = uint32_t{got[i]} << 16;
      checks.that("rounded", std::memcmp(&wide, &want, sizeof want) == 0);
    }
  }
}

/// NaN stays in the rows and columns that have it; a residual comes last and may be y.
void check_epilogue(Checks& checks) {
  const size_t m = 70, n = 67, k = 40;
  std::vector<uint16_t> a(m * k, 0x3f80), b(n * k, 0x3f80);
  a[2 * k + 39] = b[66 * k] = 0x7fc0;
  const DeviceVector<uint16_t> a_there(a), b_there(b);
  const std::vector<float> residual = random_normal(m * n, 1);
  DeviceVector<float> y(residual);
  cuda::Bf16GemmArgs args;
  args.m = m;
  args.n = n;
  args.k = k;
  args.a = {reinterpret_cast<const bf16*>(a_there.data()), k, false};
  args.b = {reinterpret_cast<const bf16*>(b_there.data()), k, false};
  args.residual = y.data();
  args.y = y.data();
  expect(cuda::gemm_bf16(args, stream()), "gemm_bf16");
  const std::vector<float> got = y.values();
  for (size_t i = 0; i < got.size(); ++i) {
    const bool touched = i / n == 2 || i % n == 66;
    checks.that("NaN", touched ? std::isnan(got[i]) : got[i] == 40.0f + residual[i]);
  }
}

void check_products(Checks& checks) {
  for (const size_t size : {1, 2, 15, 16, 17, 31, 32, 33, 65}) {
    check_values(checks, {size, 5, 7});
    check_values(checks, {3, size, 19});
    check_values(checks, {18, 21, size});
  }
  check_values(checks, {130, 140, 150});
  check_values(checks, {300, 70, 200});
  check_values(checks, {5, 130, 700});  // more k than a ring has stages
  check_bits(checks, {70, 77, 130});
  check_held(checks, {70, 77, 130});  // no whole operand of x as it is
  check_held(checks, {17, 33, 64});
  check_held(checks, {130, 140, 152});
  check_epilogue(checks);
  const std::vector<float> none = grad_weight({0, 2, 3}, {}, {});
  for (const float value : none) checks.that("no rows", value == 0);
}

void check_all(Checks& checks) {
  check_products(checks);
  check_many_blocks(checks, {1450, 1430, 40});
  for (const size_t rows : {1, 5, 64, 70})
    for (const size_t cols : {3, 13, 64, 130}) check_rounding(checks, rows, cols);
#ifdef LLMKIT_EMULATED
  // As on a chip of compute capability 9.0, which has products of warpgroups.
  setenv("LLMKIT_EMULATED_SHARED", "232448", 1);
  check_products(checks);
  check_many_blocks(checks, {1450, 2900, 40});
#endif
}

}  // namespace

int main() { return run_on_device(check_all); }
