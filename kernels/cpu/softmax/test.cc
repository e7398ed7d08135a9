#include "base/parallel.h"
#include "cpu/softmax/softmax.h"
#include "testing/testing.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

void check(Checks& checks, size_t rows, size_t cols) {
  Buffer x(rows * cols, 1), y(rows * cols, 2);
  for (size_t i = 0; i < x.size(); ++i) x[i] = 10 * x[i] + 500;  // exp alone would overflow
  softmax(rows, cols, x.data(), y.data());
  for (size_t r = 0; r < rows; ++r) {
    double most = -INFINITY, total = 0;
    for (size_t c = 0; c < cols; ++c) most = std::fmax(most, x[r * cols + c]);
    for (size_t c = 0; c < cols; ++c) total += std::exp(x[r * cols + c] - most);
    for (size_t c = 0; c < cols; ++c) {
      const double shifted = x[r * cols + c] - most;
      checks.near("softmax", y[r * cols + c], std::exp(shifted) / total, ulps_of(cols));
    }
  }
  softmax(rows, cols, x.data(), x.data());
  checks.same("in place", x.data(), y.data(), y.size());
}

void check_all(Checks& checks) {
  set_thread_count(2);
  for (size_t cols : kSizes) check(checks, 3, cols);
  check(checks, 500, 70);
  check(checks, 0, 70);
  float masked[] = {-INFINITY, 0, -INFINITY};
  softmax(1, 3, masked, masked);
  checks.that("-inf has no weight", masked[0] == 0 && masked[1] == 1 && masked[2] == 0);
}

}  // namespace

int main() { return run(check_all); }
