#include "base/parallel.h"
#include "cpu/gemm/reference.h"
#include "cpu/linear/linear.h"
#include "cpu/weight/reference.h"
#include "testing/testing.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

constexpr size_t kMost = 33, kMany = 60;

std::vector<float> dense(const WeightView& weight) {
  std::vector<float> values(weight.rows * weight.cols);
  for (size_t i = 0; i < values.size(); ++i) values[i] = decode_reference(weight, i);
  return values;
}

void check_values(Checks& checks, const WeightView& weight, size_t m = 5) {
  const size_t n = weight.rows, k = weight.cols;
  const std::vector<float> w = dense(weight);
  const Buffer x(m * k, 1), bias(n, 2), dy(m * n, 3);
  Buffer y(m * n, 4), dx(m * k, 5);
  linear(weight, m, x.data(), bias.data(), y.data());
  for (size_t i = 0; i < m * n; ++i) {
    const Sum want =
        dot_reference(k, x.data() + i / n * k, 1, w.data() + i % n * k, 1, bias[i % n]);
    checks.near("y", y[i], want.value, ulps_of(k), want.scale());
  }
  linear_grad_input(weight, m, dy.data(), dx.data());
  for (size_t i = 0; i < m * k; ++i) {
    const Sum want = dot_reference(n, dy.data() + i / k * n, 1, w.data() + i % k, k);
    checks.near("dx", dx[i], want.value, ulps_of(n), want.scale());
  }
}

/// The same bits for every number of rows and of threads.
void check_bits(Checks& checks, const WeightView& weight) {
  const size_t n = weight.rows, k = weight.cols;
  const Buffer x(kMany * k, 1), bias(n, 2), dy(kMany * n, 3);
  Buffer y(kMany * n, 4), dx(kMost * k, 5), want_y(kMost * n, 6), want_dx(kMost * k, 7);
  set_thread_count(1);
  linear(weight, kMost, x.data(), bias.data(), want_y.data());
  linear(weight, kMany, x.data(), bias.data(), y.data());
  checks.same("y, many rows", y.data(), want_y.data(), kMost * n);
  linear_grad_input(weight, kMost, dy.data(), want_dx.data());
  for (size_t threads = 1; threads <= 3; ++threads) {
    set_thread_count(threads);
    for (size_t m = 1; m <= kMost; ++m) {
      const size_t skip = kMost - m;
      linear(weight, m, x.data() + skip * k, bias.data(), y.data());
      checks.same("y, any m", y.data(), want_y.data() + skip * n, m * n);
      linear_grad_input(weight, m, dy.data() + skip * n, dx.data());
      checks.same("dx, any m", dx.data(), want_dx.data() + skip * k, m * k);
    }
  }
}

void check_rows(Checks& checks, const WeightView& weight) {
  const int ids[] = {2, 0, 2, 4};
  std::vector<float> y(4 * weight.cols);
  dequantize_rows(weight, 4, ids, y.data());
  const std::vector<float> w = dense(weight);
  for (size_t i = 0; i < 4; ++i)
    checks.same("rows", y.data() + i * weight.cols, w.data() + ids[i] * weight.cols, weight.cols);
}

/// No rows leave nothing to do, and no address to read from.
void check_no_rows(Checks& checks) {
  const RandomWeight weight({WeightFormat::kInt4, 9, 64, 32, false, false});
  linear(weight.view, 0, nullptr, nullptr, nullptr);
  linear_grad_input(weight.view, 0, nullptr, nullptr);
  dequantize_rows(weight.view, 0, nullptr, nullptr);
  checks.that("no rows", true);
}

void check_all(Checks& checks) {
  check_no_rows(checks);
  for (const WeightCase& c : weight_cases()) {
    const RandomWeight weight(c);
    check_values(checks, weight.view);
    check_rows(checks, weight.view);
  }
  using F = WeightFormat;
  for (F format : {F::kF32, F::kBf16, F::kF16, F::kInt8, F::kInt4, F::kNf4, F::kFp4})
    for (const size_t m : kRowCounts) {
      const RandomWeight weight({format, 33, 96, 48, format == F::kNf4, format == F::kInt4});
      check_values(checks, weight.view, m);
    }
  for (size_t size : kSizes) {
    if (size > 129) continue;
    const RandomWeight rows({F::kInt4, size, 64, 32, false, true});
    const RandomWeight cols({F::kInt8, 9, size, size, false, false});
    const RandomWeight halves({F::kBf16, 9, size, 0, false, false});
    for (const RandomWeight* weight : {&rows, &cols, &halves}) check_values(checks, weight->view);
  }
  // Large enough for several blocks and for the threads to be woken.
  for (F format : {F::kF32, F::kBf16, F::kF16, F::kInt8, F::kInt4, F::kNf4, F::kFp4}) {
    const RandomWeight whole({format, 150, 320, 64, format == F::kNf4, format == F::kInt4});
    check_values(checks, whole.view);
    check_bits(checks, whole.view);
    const RandomWeight ragged({format, 61, 75, 25, false, false});
    check_values(checks, ragged.view);
    check_bits(checks, ragged.view);
  }
}

}  // namespace

int main() { return run(check_all); }
