#include "base/parallel.h"
#include "cpu/norm/reference.h"
#include "testing/held.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

void check(Checks& checks, size_t rows, size_t cols, size_t offset, bool centered) {
  const Buffer x(rows * cols, 1, offset), weight(cols, 2, offset), bias(cols, 3, offset);
  const Buffer dy(rows * cols, 4, offset);
  Buffer y(rows * cols, 5, offset), dx(rows * cols, 6), dweight(cols, 7), dbias(cols, 8);
  const NormArgs p = {rows, cols, x.data(), weight.data(), 1e-5f, centered};
  norm(p, centered ? bias.data() : nullptr, y.data());
  norm_grad(p, dy.data(), dx.data(), dweight.data(), dbias.data());

  Buffer alone(cols, 9);
  norm_grad(p, dy.data(), nullptr, alone.data(), nullptr);
  checks.same("dweight alone", alone.data(), dweight.data(), cols);

  const double ulps = 2 * ulps_of(cols);
  std::vector<Sum> weight_sums(cols), bias_sums(cols);
  for (size_t r = 0; r < rows; ++r) {
    const NormRowReference want(p, r);
    const std::vector<double> want_dx = want.grad_input(p, dy.data() + r * cols);
    double largest = 0;  // of the terms that cancel
    for (size_t c = 0; c < cols; ++c)
      largest = std::fmax(largest, std::fabs(want.scale * dy[r * cols + c] * weight[c]));
    for (size_t c = 0; c < cols; ++c) {
      const double shift = centered ? bias[c] : 0;
      checks.near("y", y[r * cols + c], want.x[c] * weight[c] + shift, ulps,
                  std::fmax(1, want.scale) * (std::fabs(weight[c]) + std::fabs(shift)));
      checks.near("dx", dx[r * cols + c], want_dx[c], 2 * ulps, 4 * largest);
      weight_sums[c].add(dy[r * cols + c] * want.x[c]);
      bias_sums[c].add(dy[r * cols + c]);
    }
  }
  for (size_t c = 0; c < cols; ++c) {
    const double scale = weight_sums[c].scale() + bias_sums[c].scale();
    checks.near("dweight", dweight[c], weight_sums[c].value, ulps + ulps_of(rows), 4 * scale);
    checks.near("dbias", dbias[c], bias_sums[c].value, ulps_of(rows), scale);
  }
  std::vector<float> in_place(x.data(), x.data() + rows * cols);
  const NormArgs same = {rows, cols, in_place.data(), weight.data(), 1e-5f, centered};
  norm(same, centered ? bias.data() : nullptr, in_place.data());
  checks.same("in place", in_place.data(), y.data(), rows * cols);
}

/// x and y held as bf16: as their values in float32, y rounded.
void check_held(Checks& checks, size_t rows, size_t cols, bool centered) {
  const size_t size = rows * cols;
  const Held x(size, 1);
  const Buffer weight(cols, 2), bias(cols, 3), dy(size, 4);
  const NormArgs plain = {rows, cols, x.floats(), weight.data(), 1e-5f, centered};
  const NormArgs held = {rows, cols, x.data(), weight.data(), 1e-5f, centered};
  Buffer want(size, 5), got(size, 6), want_weight(cols, 7), got_weight(cols, 8), want_bias(cols, 9),
      got_bias(cols, 10);
  HeldResult y(size);
  norm(plain, centered ? bias.data() : nullptr, want.data());
  norm(plain, centered ? bias.data() : nullptr, y.data());
  y.check(checks, "rounded y", want.data());
  norm(held, centered ? bias.data() : nullptr, y.data());
  y.check(checks, "held y", want.data());
  norm_grad(plain, dy.data(), want.data(), want_weight.data(), want_bias.data());
  norm_grad(held, dy.data(), got.data(), got_weight.data(), got_bias.data());
  checks.same("held dx", got.data(), want.data(), size);
  checks.same("held dweight", got_weight.data(), want_weight.data(), cols);
  checks.same("held dbias", got_bias.data(), want_bias.data(), cols);
}

void check_all(Checks& checks) {
  set_thread_count(3);
  for (const bool centered : {false, true}) {
    for (size_t cols : kSizes)
      for (size_t offset : kOffsets) check(checks, 3, cols, offset, centered);
    for (size_t cols : kSizes) check_held(checks, 3, cols, centered);
    check_held(checks, 300, 80, centered);
    check(checks, 300, 80, 1, centered);
    check(checks, 0, 80, 1, centered);
  }
}

}  // namespace

int main() { return run(check_all); }
