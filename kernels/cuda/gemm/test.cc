#include <cmath>

#include "cpu/gemm/reference.h"
#include "cpu/weight/reference.h"
#include "cuda/gemm/gemm.h"
#include "cuda/weight/testing.h"

using namespace llmkit;
using namespace llmkit::cuda::testing;
using cuda::GemmArgs;
using cuda::GemmWeight;

namespace {

/// Runs a product on the device; args.y and the workspace are of this function.
std::vector<float> run(GemmArgs args) {
  DeviceVector<float> y(args.batch * args.m * args.n);
  DeviceVector<char> workspace(cuda::gemm_workspace(args));
  args.y = y.data();
  expect(cuda::gemm(args, workspace.data(), stream()), "gemm");
  return y.values();
}

struct Sizes {
  size_t m, n, k;
};

/// Operands of random values; `across` stores them with k as the outer index.
struct Operands {
  Operands(const Sizes& s, bool across_a, bool across_b)
      : a_host(random_normal(s.m * s.k, 1)),
        b_host(random_normal(s.n * s.k, 2)),
        a(a_host),
        b(b_host) {
    args.m = s.m;
    args.n = s.n;
    args.k = s.k;
    args.a.row_step = across_a ? 1 : s.k;
    args.a.k_step = across_a ? s.m : 1;
    args.b.row_step = across_b ? 1 : s.k;
    args.b.k_step = across_b ? s.n : 1;
    args.a.values = a.data();
    args.b.values = b.data();
  }
  Sum sum(size_t m, size_t n) const {
    return dot_reference(args.k, a_host.data() + m * args.a.row_step, args.a.k_step,
                         b_host.data() + n * args.b.row_step, args.b.k_step);
  }

  std::vector<float> a_host, b_host;
  DeviceVector<float> a, b;
  GemmArgs args;
};

void check_values(Checks& checks, const Sizes& s, bool across_a, bool across_b) {
  Operands o(s, across_a, across_b);
  const std::vector<float> got = run(o.args);
  const std::vector<float> bias = random_normal(s.n, 3), residual = random_normal(s.m * s.n, 4);
  const DeviceVector<float> bias_there(bias), residual_there(residual);
  o.args.bias = bias_there.data();
  o.args.residual = residual_there.data();
  o.args.scale = 0.3f;
  const std::vector<float> more = run(o.args);
  for (size_t i = 0; i < s.m * s.n; ++i) {
    const Sum sum = o.sum(i / s.n, i % s.n);
    checks.near("product", got[i], sum.value, ulps_of(s.k), sum.scale());
    // What surrounds a sum is float32 on top of the same bits.
    const volatile float scaled = got[i] * 0.3f;
    const volatile float biased = scaled + bias[i % s.n];
    checks.that("bias and residual", more[i] == biased + residual[i]);
  }
}

/// The rows of a smaller product, by whatever shape of block, have the bits of the larger one.
void check_bits(Checks& checks, const Sizes& s) {
  const Operands o(s, false, false);
  const std::vector<float> want = run(o.args);
  for (const size_t m : {1, 2, 4, 5, 16, 17, 64, 65, 70})
    for (const size_t n : {size_t{1}, size_t{16}, size_t{17}, size_t{70}, s.n}) {
      if (m > s.m || n > s.n) continue;
      GemmArgs args = o.args;
      args.m = m;
      args.n = n;
      args.a.values = o.a.data() + (s.m - m) * s.k;
      args.b.values = o.b.data() + (s.n - n) * s.k;
      const std::vector<float> got = run(args);
      for (size_t i = 0; i < m; ++i)
        checks.same("any m and n", got.data() + i * n,
                    want.data() + (s.m - m + i) * s.n + (s.n - n), n);
    }
}

/// Matrix i is made of matrices i mod batch, and has the bits that it has alone.
void check_batch(Checks& checks, size_t batch_a, size_t batch_b) {
  const Sizes s = {19, 23, 90};
  const DeviceVector<float> a(random_normal(batch_a * s.m * s.k, 1));
  const DeviceVector<float> b(random_normal(batch_b * s.n * s.k, 2));
  GemmArgs args;
  args.batch = std::max(batch_a, batch_b);
  args.m = s.m;
  args.n = s.n;
  args.k = s.k;
  args.a = {a.data(), s.k, 1, batch_a, s.m * s.k};
  args.b = {b.data(), 1, s.n, batch_b, s.n * s.k};
  const std::vector<float> got = run(args);
  for (size_t i = 0; i < args.batch; ++i) {
    GemmArgs one = args;
    one.batch = 1;
    one.a = {a.data() + i % batch_a * s.m * s.k, s.k, 1};
    one.b = {b.data() + i % batch_b * s.n * s.k, 1, s.n};
    const std::vector<float> want = run(one);
    checks.same("batch", got.data() + i * s.m * s.n, want.data(), s.m * s.n);
  }
}

/// A stored weight gives the bits of the same values in float32, by rows and by columns.
void check_weight(Checks& checks, const WeightCase& c, size_t m) {
  const RandomWeight random(c);
  const UploadedWeight weight(random.view);
  std::vector<float> values(c.rows * c.cols);
  for (size_t i = 0; i < values.size(); ++i) values[i] = decode_reference(random.view, i);
  const DeviceVector<float> dense(values);
  for (const bool rows : {true, false}) {
    GemmArgs args;
    args.m = m;
    args.n = rows ? c.rows : c.cols;
    args.k = rows ? c.cols : c.rows;
    const DeviceVector<float> x(random_normal(m * args.k, 7));
    args.a = {x.data(), args.k, 1};
    args.b = {dense.data(), rows ? args.k : 1, rows ? 1 : args.n};
    const std::vector<float> want = run(args);
    args.weight = weight.view();
    args.weight_is = rows ? GemmWeight::kRows : GemmWeight::kColumns;
    const std::vector<float> got = run(args);
    checks.same(rows ? "weight by rows" : "weight by columns", got.data(), want.data(),
                want.size());
  }
}

/// NaN stays in the row and the column that have it.
void check_nan(Checks& checks) {
  const Sizes s = {70, 66, 130};
  Operands o(s, false, false);
  const std::vector<float> want = run(o.args);
  o.a_host[3 * s.k + 129] = NAN;
  o.b_host[65 * s.k] = NAN;
  const DeviceVector<float> a(o.a_host), b(o.b_host);
  o.args.a.values = a.data();
  o.args.b.values = b.data();
  const std::vector<float> got = run(o.args);
  for (size_t i = 0; i < got.size(); ++i) {
    const bool touched = i / s.n == 3 || i % s.n == 65;
    checks.that("NaN", touched ? std::isnan(got[i]) : got[i] == want[i]);
  }
}

void check_all(Checks& checks) {
  for (const bool across_a : {false, true})
    for (const bool across_b : {false, true}) {
      for (const size_t size : {1, 2, 7, 15, 16, 17, 33, 63, 64, 65, 127, 129, 200}) {
        check_values(checks, {3, 5, size}, across_a, across_b);
        check_values(checks, {size, 21, 40}, across_a, across_b);
        check_values(checks, {18, size, 35}, across_a, across_b);
      }
      check_values(checks, {2, 3, 0}, across_a, across_b);
      check_values(checks, {0, 3, 4}, across_a, across_b);
      check_values(checks, {150, 140, 1000}, across_a, across_b);
    }
  check_values(checks, {1100, 40, 90}, false, false);
  check_values(checks, {3, 65600, 67}, false, true);  // narrow blocks that have all slices
  // Blocks of 128 x 128 that have all slices; of the smaller products each slice has its own.
  check_bits(checks, {1450, 1430, 70});
  check_bits(checks, {130, 200, 300});
  for (const size_t batch : {1, 2, 3}) {
    check_batch(checks, batch, 1);
    check_batch(checks, 1, batch);
    check_batch(checks, 4, batch);
  }
  std::vector<WeightCase> cases = weight_cases();
  cases.push_back({WeightFormat::kInt4, 150, 130, 64, false, true});
  cases.push_back({WeightFormat::kNf4, 140, 77, 64, true, false});
  for (const WeightCase& c : cases)
    for (const size_t m : {1, 5, 16, 70}) check_weight(checks, c, m);
  check_nan(checks);
}

}  // namespace

int main() { return run_on_device(check_all); }
