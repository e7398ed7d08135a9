#include "base/parallel.h"
#include "cpu/adamw/adamw.h"
#include "cpu/adamw/adamw_8bit.h"
#include "cpu/adamw/dynamic_map.h"
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

/// One state's values in double, and whether rounding to 8 bits left the nearest ones.
struct State8 {
  DynamicMap map;
  std::vector<uint8_t> codes;
  std::vector<float> scales;

  State8(size_t n, bool has_sign)
      : map(has_sign), codes(n), scales((n + kStateBlock - 1) / kStateBlock) {}
  double value(size_t i) const { return double{map.values[codes[i]]} * scales[i / kStateBlock]; }
  void check(Checks& checks, size_t i, double want) const {
    const double scale = scales[i / kStateBlock];
    double nearest = INFINITY;
    for (const float value : map.values)
      nearest = std::min(nearest, std::fabs(value * scale - want));
    checks.that("magnitude", std::fabs(want) <= scale * (1 + 1e-6));
    checks.that("nearest code", std::fabs(value(i) - want) <= nearest + 1e-6 * scale);
  }
};

void check_8bit(Checks& checks, size_t n) {
  Buffer p(n, 1);
  const Buffer g(n, 4);
  State8 m(n, true), v(n, false);
  for (double step = 1; step < 4; ++step) {
    const AdamwHyper h = {step, 0.01, 0.9, 0.999, 1e-8, 0.1, 0.5};
    std::vector<double> want_p(n), want_m(n), want_v(n);
    for (size_t i = 0; i < n; ++i) {
      const double gradient = g[i] * h.gradient_scale;
      want_m[i] = h.beta1 * m.value(i) + (1 - h.beta1) * gradient;
      want_v[i] = h.beta2 * v.value(i) + (1 - h.beta2) * gradient * gradient;
      const double root = std::sqrt(want_v[i] / (1 - std::pow(h.beta2, step)));
      want_p[i] = p[i] * (1 - h.learning_rate * h.weight_decay) -
                  h.learning_rate * want_m[i] / (1 - std::pow(h.beta1, step)) / (root + h.eps);
    }
    adamw_8bit(
        n, {p.data(), g.data(), m.codes.data(), v.codes.data(), m.scales.data(), v.scales.data()},
        h);
    for (size_t i = 0; i < n; ++i) {
      checks.near("8-bit parameter", p[i], want_p[i], 16, std::fabs(want_p[i]) + 0.1);
      m.check(checks, i, want_m[i]);
      v.check(checks, i, want_v[i]);
    }
  }
}

void check_all(Checks& checks) {
  set_thread_count(2);
  for (size_t n : kSizes)
    for (const double step : {1, 2, 1000}) check(checks, n, step);
  for (size_t n : {0, 50000}) check(checks, n, 3);
  for (size_t n : {0, 1, 255, 256, 257, 5000}) check_8bit(checks, n);
}

}  // namespace

int main() { return run(check_all); }
