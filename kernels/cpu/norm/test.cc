#include "base/parallel.h"
#include "cpu/norm/reference.h"
#include "testing/testing.h"

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

void check_all(Checks& checks) {
  set_thread_count(3);
  for (const bool centered : {false, true}) {
    for (size_t cols : kSizes)
      for (size_t offset : kOffsets) check(checks, 3, cols, offset, centered);
    check(checks, 300, 80, 1, centered);
    check(checks, 0, 80, 1, centered);
  }
}

}  // namespace

int main() { return run(check_all); }
