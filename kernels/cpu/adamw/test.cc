#include "base/parallel.h"
#include "cpu/adamw/adamw.h"
#include "testing/testing.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

void check(Checks& checks, size_t n, double step) {
  Buffer p(n, 1), m(n, 2), v(n, 3);
  const Buffer g(n, 4);
  for (size_t i = 0; i < n; ++i) v[i] = std::fabs(v[i]);
  const AdamwHyper h = {step, 0.01, 0.9, 0.999, 1e-8, 0.1, 0.5};
  std::vector<double> want_p(n), want_m(n), want_v(n);
  for (size_t i = 0; i < n; ++i) {
    const double gradient = g[i] * h.gradient_scale;
    want_m[i] = h.beta1 * m[i] + (1 - h.beta1) * gradient;
    want_v[i] = h.beta2 * v[i] + (1 - h.beta2) * gradient * gradient;
    const double corrected_m = want_m[i] / (1 - std::pow(h.beta1, step));
    const double corrected_v = want_v[i] / (1 - std::pow(h.beta2, step));
    want_p[i] = p[i] * (1 - h.learning_rate * h.weight_decay) -
                h.learning_rate * corrected_m / (std::sqrt(corrected_v) + h.eps);
  }
  adamw(n, {p.data(), g.data(), m.data(), v.data()}, h);
  for (size_t i = 0; i < n; ++i) {
    checks.near("m", m[i], want_m[i], 4, std::fabs(g[i]));
    checks.near("v", v[i], want_v[i], 4);
    checks.near("parameter", p[i], want_p[i], 8, std::fabs(want_p[i]) + 0.1);
  }
}

void check_all(Checks& checks) {
  set_thread_count(2);
  for (size_t n : kSizes)
    for (const double step : {1, 2, 1000}) check(checks, n, step);
  check(checks, 50000, 3);
}

}  // namespace

int main() { return run(check_all); }
