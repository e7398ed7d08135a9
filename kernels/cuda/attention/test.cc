#include "cuda/attention/test_problem.h"

using namespace llmkit::cuda::testing;

namespace {

/// Roundings to bf16 in units of float32's.
constexpr double kBf16 = 65536;

/// Against the formula in double. Rounded, products of a head's values have that many errors of
/// 2^-9 each, in proportion to the root of their sum: the reference has rounded inputs, so that
/// only the weights differ, each by half a unit of bf16.
void check_forward(Checks& checks, const Shape& shape, Features features, Seen seen) {
  Problem problem(shape, features, seen);
  const double ulps = ulps_of(shape.E) + ulps_of(shape.S * shape.H / shape.K);
  for (const bool with_bf16 : {false, true}) {
    if (with_bf16) {
      problem.q = rounded(problem.q);
      problem.k = rounded(problem.k);
      problem.v = rounded(problem.v);
    }
    const llmkit::AttentionArgs host = problem.host();
    const llmkit::AttentionReference want(host, nullptr);
    const DeviceProblem device(problem, with_bf16);
    const Forward got = attend(device.args);
    const double more = with_bf16 ? kBf16 / 2 : 0;
    near_all(checks, with_bf16 ? "y, rounded" : "y", got.y, want.y, ulps + more);
    near_all(checks, "log_sum_exp", got.log_sum_exp, want.log_sum_exp, 4 * ulps);
  }
}

void check_all(Checks& checks) {
  const Shape shapes[] = {{1, 1, 1, 1, 1, 1},    {2, 5, 5, 2, 2, 8},    {1, 30, 30, 4, 2, 16},
                          {2, 17, 40, 6, 2, 20}, {1, 1, 130, 4, 1, 64}, {1, 70, 150, 2, 1, 33}};
  for (const Shape& shape : shapes)
    for (const int32_t window : {1000, 7, 1})
      for (const Features features : {Features{}, Features{2.5f, false}, Features{0, true, -0.2f}})
        check_forward(checks, shape, features, {window});
}

}  // namespace

int main() { return run_on_device(check_all); }
