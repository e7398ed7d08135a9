#include <algorithm>

#include "base/parallel.h"
#include "cpu/gemm/reference.h"
#include "cpu/packed_grad/reference.h"
#include "cpu/rounded/rounded.h"
#include "testing/held.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

std::vector<float> rounded(const float* values, size_t n) {
  std::vector<float> result(n);
  std::transform(values, values + n, result.begin(), bf16_reference);
  return result;
}

/// Sizes of a layer: m rows of x, a [rows, cols] weight.
struct Sizes {
  size_t m, rows, cols;
};

/// Each product against sums in double of the rounded operands.
void check_values(Checks& checks, const Sizes& s) {
  const Buffer weight(s.rows * s.cols, 1), x(s.m * s.cols, 2), dy(s.m * s.rows, 3), bias(s.rows, 4);
  Buffer y(s.m * s.rows, 5), dx(s.m * s.cols, 6), dweight(s.rows * s.cols, 7);
  const FloatMatrix matrix = {weight.data(), s.rows, s.cols, s.cols};
  rounded_linear(matrix, s.m, x.data(), bias.data(), y.data());
  rounded_grad_input(matrix, s.m, dy.data(), dx.data());
  rounded_grad_weight({dy.data(), s.m, s.rows, s.rows}, {x.data(), s.m, s.cols, s.cols},
                      dweight.data());
  const std::vector<float> w = rounded(weight.data(), weight.size());
  const std::vector<float> xs = rounded(x.data(), x.size()), dys = rounded(dy.data(), dy.size());
  for (size_t i = 0; i < s.m; ++i)
    for (size_t r = 0; r < s.rows; ++r) {
      const Sum sum = dot_reference(s.cols, xs.data() + i * s.cols, 1, w.data() + r * s.cols, 1);
      checks.near("y", y[i * s.rows + r], sum.value + bias[r], ulps_of(s.cols), sum.scale());
    }
  for (size_t i = 0; i < s.m; ++i)
    for (size_t c = 0; c < s.cols; ++c) {
      const Sum sum = dot_reference(s.rows, dys.data() + i * s.rows, 1, w.data() + c, s.cols);
      checks.near("dx", dx[i * s.cols + c], sum.value, ulps_of(s.rows), sum.scale());
    }
  for (size_t r = 0; r < s.rows; ++r)
    for (size_t c = 0; c < s.cols; ++c) {
      const Sum sum = dot_reference(s.m, dys.data() + r, s.rows, xs.data() + c, s.cols);
      checks.near("dweight", dweight[r * s.cols + c], sum.value, ulps_of(s.m), sum.scale());
    }
}

/// x, dy and y held as bf16: as their values in float32, y rounded.
void check_held(Checks& checks, const Sizes& s) {
  const Buffer weight(s.rows * s.cols, 1), bias(s.rows, 4);
  const Held x(s.m * s.cols, 2), dy(s.m * s.rows, 3);
  Buffer want(s.m * s.rows, 5), dweight(s.rows * s.cols, 6), want_dweight(s.rows * s.cols, 7);
  HeldResult y(s.m * s.rows);
  const FloatMatrix matrix = {weight.data(), s.rows, s.cols, s.cols};
  rounded_linear(matrix, s.m, x.floats(), bias.data(), want.data());
  rounded_linear(matrix, s.m, x.data(), bias.data(), y.data());
  y.check(checks, "held y", want.data());
  const ElementMatrix dys = {dy.floats(), s.m, s.rows, s.rows};
  rounded_grad_weight(dys, {x.floats(), s.m, s.cols, s.cols}, want_dweight.data());
  rounded_grad_weight({dy.data(), s.m, s.rows, s.rows}, {x.data(), s.m, s.cols, s.cols},
                      dweight.data());
  checks.same("held dweight", dweight.data(), want_dweight.data(), dweight.size());
}

/// The same bits of y and dx for every number of rows, and of all three for every number of
/// threads.
void check_bits(Checks& checks, const Sizes& s) {
  const Buffer weight(s.rows * s.cols, 1), x(s.m * s.cols, 2), dy(s.m * s.rows, 3);
  const FloatMatrix matrix = {weight.data(), s.rows, s.cols, s.cols};
  const ElementMatrix dys = {dy.data(), s.m, s.rows, s.rows};
  const ElementMatrix xs = {x.data(), s.m, s.cols, s.cols};
  Buffer y(s.m * s.rows, 4), dx(s.m * s.cols, 5), dweight(s.rows * s.cols, 6);
  Buffer y2(s.m * s.rows, 7), dx2(s.m * s.cols, 8), dweight2(s.rows * s.cols, 9);
  set_thread_count(1);
  rounded_linear(matrix, s.m, x.data(), nullptr, y.data());
  rounded_grad_input(matrix, s.m, dy.data(), dx.data());
  rounded_grad_weight(dys, xs, dweight.data());
  for (size_t threads = 1; threads <= 3; ++threads) {
    set_thread_count(threads);
    rounded_grad_weight(dys, xs, dweight2.data());
    checks.same("dweight, any threads", dweight2.data(), dweight.data(), dweight.size());
    for (const size_t m : {size_t{1}, size_t{2}, size_t{17}, s.m}) {
      const size_t skip = s.m - m;
      rounded_linear(matrix, m, x.data() + skip * s.cols, nullptr, y2.data());
      checks.same("y, any m", y2.data(), y.data() + skip * s.rows, m * s.rows);
      rounded_grad_input(matrix, m, dy.data() + skip * s.rows, dx2.data());
      checks.same("dx, any m", dx2.data(), dx.data() + skip * s.cols, m * s.cols);
    }
  }
}

void check_all(Checks& checks) {
  for (const size_t size :
       {1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 257}) {
    check_held(checks, {size, 5, 7});
    check_held(checks, {18, size, 21});
    check_held(checks, {3, 19, size});
    check_values(checks, {size, 5, 7});
    check_values(checks, {3, size, 19});
    check_values(checks, {18, 21, size});
  }
  check_values(checks, {0, 5, 7});
  check_values(checks, {130, 140, 150});
  check_values(checks, {300, 70, 600});
  check_held(checks, {300, 70, 600});
  check_bits(checks, {70, 77, 130});
  Buffer dweight(6, 1);
  rounded_grad_weight({{}, 0, 2, 2}, ElementMatrix{{}, 0, 3, 3}, dweight.data());
  for (size_t i = 0; i < 6; ++i) checks.that("no rows", dweight[i] == 0);
}

}  // namespace

int main() { return run(check_all); }
