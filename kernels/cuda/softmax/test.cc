#include "cuda/softmax/softmax.h"
#include "cuda/testing/shifted.h"

using namespace llmkit;
using namespace llmkit::cuda::testing;
namespace gpu = llmkit::cuda;

namespace {

std::vector<float> softmax_of(Checks& checks, size_t rows, const std::vector<float>& x,
                              size_t offset) {
  const Shifted<float> from(x, offset);
  Shifted<float> y(x.size(), offset == 0 ? 1 : 0);
  const size_t cols = rows == 0 ? 70 : x.size() / rows;
  expect(gpu::softmax(rows, cols, from.data(), y.data(), stream()), "softmax");
  return y.values(checks);
}

void check(Checks& checks, size_t rows, size_t cols, size_t offset) {
  std::vector<float> x = random_normal(rows * cols, 1);
  for (float& value : x) value = 10 * value + 500;  // exp alone would overflow
  const std::vector<float> y = softmax_of(checks, rows, x, offset);
  for (size_t r = 0; r < rows; ++r) {
    double most = -INFINITY, total = 0;
    for (size_t c = 0; c < cols; ++c) most = std::fmax(most, x[r * cols + c]);
    for (size_t c = 0; c < cols; ++c) total += std::exp(x[r * cols + c] - most);
    for (size_t c = 0; c < cols; ++c) {
      const double shifted = x[r * cols + c] - most;
      checks.near("softmax", y[r * cols + c], std::exp(shifted) / total, ulps_of(cols));
    }
    const std::vector<float> row(x.begin() + r * cols, x.begin() + (r + 1) * cols);
    checks.same("a row alone", softmax_of(checks, 1, row, r % 4).data(), y.data() + r * cols, cols);
  }
  Shifted<float> in_place(x, 2);
  expect(gpu::softmax(rows, cols, in_place.data(), in_place.data(), stream()), "in place");
  checks.that("in place", same_bytes(in_place.values(checks), y));
}

void check_all(Checks& checks) {
  for (size_t cols : kSizes)
    for (size_t offset : {0, 1, 3}) check(checks, 3, cols, offset);
  check(checks, 100, 70, 0);
  check(checks, 0, 70, 0);
  check(checks, 2, 9001, 1);
  check(checks, 2, 16384, 0);
  const std::vector<float> masked = softmax_of(checks, 1, {-INFINITY, 0, -INFINITY}, 0);
  checks.that("-inf has no weight", masked[0] == 0 && masked[1] == 1 && masked[2] == 0);
}

}  // namespace

int main() { return run_on_device(check_all); }
