#include "cuda/reduce/reduce.h"
#include "cuda/testing/shifted.h"

using namespace llmkit;
using namespace llmkit::cuda::testing;
namespace gpu = llmkit::cuda;

namespace {

constexpr size_t kOps = kReductions;

std::vector<float> reduce_of(Checks& checks, Reduction op, const ReduceArgs& p, size_t offset) {
  Shifted<float> y(p.outer * p.inner, offset);
  DeviceVector<char> workspace(gpu::reduce_workspace(p));
  const ReduceArgs args = {p.outer, p.middle, p.inner, p.x, y.data()};
  expect(gpu::reduce(op, args, workspace.data(), stream()), "reduce");
  return y.values(checks);
}

void check(Checks& checks, size_t outer, size_t middle, size_t inner, size_t offset) {
  const Random x(outer * middle * inner, 1, offset);
  const ReduceArgs p = {outer, middle, inner, x.data(), nullptr};
  const std::vector<float> sums = reduce_of(checks, Reduction::kSum, p, offset),
                           means = reduce_of(checks, Reduction::kMean, p, offset),
                           most = reduce_of(checks, Reduction::kMax, p, offset);
  for (size_t i = 0; i < outer * inner; ++i) {
    Sum sum;
    double largest = -INFINITY;
    for (size_t j = 0; j < middle; ++j) {
      const float value = x[(i / inner * middle + j) * inner + i % inner];
      sum.add(value);
      largest = std::fmax(largest, value);
    }
    const double count = static_cast<double>(middle);
    checks.near("sum", sums[i], sum.value, ulps_of(middle), sum.scale());
    if (middle > 0)
      checks.near("mean", means[i], sum.value / count, ulps_of(middle), sum.scale() / count);
    checks.that("max", most[i] == largest);
  }
}

/// A row has the same bits whatever the number of rows and wherever it lies.
void check_rows_alone(Checks& checks, size_t middle, size_t inner) {
  const size_t outer = 5, row = middle * inner;
  const Random x(outer * row, 2, 0);
  for (size_t op = 0; op < kOps; ++op) {
    const auto reduction = static_cast<Reduction>(op);
    const std::vector<float> all =
        reduce_of(checks, reduction, {outer, middle, inner, x.data(), nullptr}, 0);
    for (size_t r = 0; r < outer; ++r) {
      const Shifted<float> alone(
          std::vector<float>(x.host.begin() + r * row, x.host.begin() + (r + 1) * row), r);
      const std::vector<float> got =
          reduce_of(checks, reduction, {1, middle, inner, alone.data(), nullptr}, 3);
      checks.same("a row alone", got.data(), all.data() + r * inner, inner);
    }
  }
}

std::vector<int32_t> argmax_of(Checks& checks, size_t rows, const std::vector<float>& x,
                               size_t offset) {
  const Shifted<float> from(x, offset);
  Shifted<int32_t> y(rows, offset);
  expect(gpu::argmax(rows, rows == 0 ? 7 : x.size() / rows, from.data(), y.data(), stream()),
         "argmax");
  return y.values(checks);
}

void check_argmax(Checks& checks, size_t cols, size_t offset) {
  std::vector<float> x = random_normal(3 * cols, 1);
  for (float& value : x) value = std::round(value);  // ties
  const std::vector<int32_t> got = argmax_of(checks, 3, x, offset);
  for (size_t r = 0; r < 3; ++r) {
    size_t want = 0;
    for (size_t c = 1; c < cols; ++c)
      if (x[r * cols + c] > x[r * cols + want]) want = c;
    checks.that("argmax", got[r] == static_cast<int32_t>(want));
  }
}

void check_special_values(Checks& checks) {
  for (size_t place : {0, 3, 16, 20, 39}) {
    std::vector<float> x(40, 1.0f), columns(80, 1.0f);
    x[place] = columns[2 * place] = NAN;
    const Shifted<float> row(x, 1), pair(columns, 1);
    checks.that("max with NaN", std::isnan(reduce_of(checks, Reduction::kMax,
                                                     {1, 40, 1, row.data(), nullptr}, 0)[0]));
    const std::vector<float> both =
        reduce_of(checks, Reduction::kMax, {1, 40, 2, pair.data(), nullptr}, 0);
    checks.that("max of columns with NaN", std::isnan(both[0]) && both[1] == 1);
    x[30] = 2;
    checks.that("argmax passes over NaN", argmax_of(checks, 1, x, 1)[0] == (place == 0 ? 0 : 30));
  }
  checks.that("argmax of -inf", argmax_of(checks, 1, {-INFINITY, -INFINITY}, 0)[0] == 0);
  checks.that("argmax of NaN", argmax_of(checks, 1, {NAN, NAN, NAN}, 0)[0] == 0);
  checks.that("no rows", argmax_of(checks, 0, {}, 0).empty());
}

void check_all(Checks& checks) {
  for (size_t size : kSizes)
    for (size_t offset : {0, 1, 3}) {
      check(checks, 3, size, 1, offset);
      check(checks, 1, 5, size, offset);
      check(checks, 2, size, 3, offset);
      check_argmax(checks, size, offset);
    }
  check(checks, 3, 0, 1, 0);
  check(checks, 2, 0, 5, 0);
  check(checks, 0, 5, 5, 0);
  check(checks, 600, 90, 1, 1);
  check(checks, 1, 900, 300, 0);
  check(checks, 2, 20001, 1, 0);
  check(checks, 1, 8192 * 3, 1, 1);
  check_argmax(checks, 128257, 1);
  for (size_t middle : {1, 100, 257, 1000, 8193, 20000}) check_rows_alone(checks, middle, 1);
  for (size_t middle : {1, 100, 129, 1000}) check_rows_alone(checks, middle, 6);
  check_special_values(checks);
}

}  // namespace

int main() { return run_on_device(check_all); }
