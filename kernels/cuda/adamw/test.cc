#include <algorithm>
#include <functional>

#include "cpu/adamw/dynamic_map.h"
#include "cuda/adamw/adamw.h"
#include "cuda/testing/repeat.h"
#include "cuda/testing/shifted.h"

using namespace llmkit;
using namespace llmkit::cuda::testing;
namespace gpu = llmkit::cuda;

namespace {

/// One value's update in double, from the states in double.
struct Update {
  double p, m, v;
  Update(const AdamwHyper& h, double parameter, double gradient, double old_m, double old_v) {
    const double g = gradient * h.gradient_scale;
    m = h.beta1 * old_m + (1 - h.beta1) * g;
    v = h.beta2 * old_v + (1 - h.beta2) * g * g;
    const double corrected_m = m / (1 - std::pow(h.beta1, h.step));
    const double corrected_v = v / (1 - std::pow(h.beta2, h.step));
    p = parameter * (1 - h.learning_rate * h.weight_decay) -
        h.learning_rate * corrected_m / (std::sqrt(corrected_v) + h.eps);
  }
};

AdamwHyper hyper_at(double step) { return {step, 0.01, 0.9, 0.999, 1e-8, 0.1, 0.5}; }

void check(Checks& checks, size_t n, double step, size_t offset) {
  const AdamwHyper h = hyper_at(step);
  const Random g(n, 4, offset), old_p(n, 1, offset), old_m(n, 2, 1);
  std::vector<float> old_v = random_normal(n, 3);
  for (float& value : old_v) value = std::fabs(value);
  Shifted<float> p(old_p.host, offset), m(old_m.host, 1), v(old_v, offset);
  expect(gpu::adamw(n, {p.data(), g.data(), m.data(), v.data()}, h, stream()), "adamw");
  const std::vector<float> new_p = p.values(checks), new_m = m.values(checks),
                           new_v = v.values(checks);
  for (size_t i = 0; i < n; ++i) {
    const Update want(h, old_p[i], g[i], old_m[i], old_v[i]);
    checks.near("m", new_m[i], want.m, 4, std::fabs(g[i]));
    checks.near("v", new_v[i], want.v, 4);
    checks.near("parameter", new_p[i], want.p, 8, std::fabs(want.p) + 0.1);
  }
}

/// The bits of a CPU that fuses the same products and sums (cpu/adamw/generic.h).
void check_same_as_cpu(Checks& checks) {
  if (std::strcmp(isa_name(), "scalar") == 0) return;  // it rounds twice where others fuse
  const size_t n = 1001;
  const Random g(n, 4, 0);
  Buffer p(n, 1), m(n, 2), v(n, 3);
  for (size_t i = 0; i < n; ++i) v[i] = std::fabs(v[i]);
  const auto copy = [&](const Buffer& b) { return std::vector<float>(b.data(), b.data() + n); };
  Shifted<float> gpu_p(copy(p), 0), gpu_m(copy(m), 0), gpu_v(copy(v), 0);
  for (double step = 1; step < 5; ++step) {
    adamw(n, {p.data(), g.host.data(), m.data(), v.data()}, hyper_at(step));
    expect(gpu::adamw(n, {gpu_p.data(), g.data(), gpu_m.data(), gpu_v.data()}, hyper_at(step),
                      stream()),
           "adamw");
  }
  checks.same("parameter as on the CPU", gpu_p.values(checks).data(), p.data(), n);
  checks.same("m as on the CPU", gpu_m.values(checks).data(), m.data(), n);
  checks.same("v as on the CPU", gpu_v.values(checks).data(), v.data(), n);
}

/// The codes, scales and parameters of such a CPU.
void check_8bit_same_as_cpu(Checks& checks) {
  if (std::strcmp(isa_name(), "scalar") == 0) return;
  const size_t n = 1001, blocks = (n + kStateBlock - 1) / kStateBlock;
  const Random g(n, 4, 0);
  Buffer p(n, 1);
  std::vector<uint8_t> m(n), v(n);
  std::vector<float> m_scales(blocks), v_scales(blocks);
  Shifted<float> gpu_p(std::vector<float>(p.data(), p.data() + n), 0), gpu_ms(m_scales, 0),
      gpu_vs(v_scales, 0);
  Shifted<uint8_t> gpu_m(m, 0), gpu_v(v, 0);
  for (double step = 1; step < 5; ++step) {
    adamw_8bit(n, {p.data(), g.host.data(), m.data(), v.data(), m_scales.data(), v_scales.data()},
               hyper_at(step));
    expect(
        gpu::adamw_8bit(
            n, {gpu_p.data(), g.data(), gpu_m.data(), gpu_v.data(), gpu_ms.data(), gpu_vs.data()},
            hyper_at(step), stream()),
        "adamw_8bit");
  }
  checks.same("8-bit parameter as on the CPU", gpu_p.values(checks).data(), p.data(), n);
  checks.that("8-bit m as on the CPU", gpu_m.values(checks) == m);
  checks.that("8-bit v as on the CPU", gpu_v.values(checks) == v);
  checks.that("scales as on the CPU",
              gpu_ms.values(checks) == m_scales && gpu_vs.values(checks) == v_scales);
}

/// The published map: seven powers of ten, each with twice the steps of the one below, 0 and 1.
void check_map(Checks& checks, bool has_sign) {
  const DynamicMap map(has_sign);
  const float *const first = map.values, *const last = first + 256;
  checks.that("ascending", std::adjacent_find(first, last, std::greater_equal<float>()) == last);
  checks.that("0 and 1", std::find(first, last, 0.0f) != last && last[-1] == 1);
  for (int exponent = 0; exponent > -7; --exponent) {
    const double high = std::pow(10.0, exponent), low = 0.1 * high;
    const auto inside = [=](float v) { return v > low && v < high; };
    checks.that("steps", std::count_if(first, last, inside) == (has_sign ? 64 : 128) >> -exponent);
  }
  const double least = has_sign ? 0.55e-6 : 0.325e-6;
  checks.near("least", *std::upper_bound(first, last, 0.0f), least, 1);
  checks.near("next to 1", last[-2], 1 - 0.45 / (has_sign ? 64 : 128), 1);
  if (!has_sign) return;
  for (int i = 0; i < 127; ++i) checks.that("mirrored", map.values[i] == -map.values[254 - i]);
}

/// A state in 8 bits on the device.
struct State {
  DynamicMap map;
  Shifted<uint8_t> codes;
  Shifted<float> scales;

  State(size_t n, bool has_sign, size_t offset)
      : map(has_sign),
        codes(std::vector<uint8_t>(n), offset),
        scales(std::vector<float>((n + kStateBlock - 1) / kStateBlock), 1) {}

  std::vector<double> values(Checks& checks) const {
    const std::vector<uint8_t> code = codes.values(checks);
    const std::vector<float> scale = scales.values(checks);
    std::vector<double> all(code.size());
    for (size_t i = 0; i < all.size(); ++i)
      all[i] = double{map.values[code[i]]} * scale[i / kStateBlock];
    return all;
  }

  /// Each block's scale is its largest magnitude, and no code would have been nearer to `want`.
  void check(Checks& checks, const std::vector<double>& want) const {
    const std::vector<double> got = values(checks);
    const std::vector<float> scale = scales.values(checks);
    for (size_t begin = 0; begin < want.size(); begin += kStateBlock) {
      const size_t end = std::min(begin + kStateBlock, want.size());
      double largest = 0;
      for (size_t i = begin; i < end; ++i) largest = std::max(largest, std::fabs(want[i]));
      checks.near("scale", scale[begin / kStateBlock], largest, 8);
      for (size_t i = begin; i < end; ++i) {
        double nearest = INFINITY;
        for (const float value : map.values)
          nearest = std::min(nearest, std::fabs(value * largest - want[i]));
        checks.that("nearest code", std::fabs(got[i] - want[i]) <= nearest + 1e-6 * largest);
      }
    }
  }
};

void check_8bit(Checks& checks, size_t n, size_t offset) {
  const Random g(n, 4, offset);
  State m(n, true, offset), v(n, false, 1);
  Shifted<float> parameter(random_normal(n, 1), offset);
  for (double step = 1; step < 4; ++step) {
    const AdamwHyper h = hyper_at(step);
    const std::vector<double> old_m = m.values(checks), old_v = v.values(checks);
    const std::vector<float> old_p = parameter.values(checks);
    expect(gpu::adamw_8bit(n,
                           {parameter.data(), g.data(), m.codes.data(), v.codes.data(),
                            m.scales.data(), v.scales.data()},
                           h, stream()),
           "adamw_8bit");
    const std::vector<float> new_p = parameter.values(checks);
    std::vector<double> want_m(n), want_v(n);
    for (size_t i = 0; i < n; ++i) {
      const Update want(h, old_p[i], g[i], old_m[i], old_v[i]);
      want_m[i] = want.m;
      want_v[i] = want.v;
      checks.near("parameter", new_p[i], want.p, 16, std::fabs(want.p) + 0.1);
    }
    m.check(checks, want_m);
    v.check(checks, want_v);
  }
}

/// Three steps, with states in float32 and in 8 bits: any run's bits.
void check_all_runs(Checks& checks) {
  const size_t n = 5000;
  const Random g(n, 4, 0);
  check_runs(checks, "adamw of any run", [&] {
    Shifted<float> p(random_normal(n, 1), 0), m(std::vector<float>(n), 0), v(m.values(), 0);
    State m8(n, true, 0), v8(n, false, 0);
    Shifted<float> p8(random_normal(n, 1), 0);
    for (double step = 1; step < 4; ++step) {
      expect(gpu::adamw(n, {p.data(), g.data(), m.data(), v.data()}, hyper_at(step), stream()),
             "adamw");
      expect(gpu::adamw_8bit(n,
                             {p8.data(), g.data(), m8.codes.data(), v8.codes.data(),
                              m8.scales.data(), v8.scales.data()},
                             hyper_at(step), stream()),
             "adamw_8bit");
    }
    const std::vector<uint8_t> m_codes = m8.codes.values(), v_codes = v8.codes.values();
    return std::vector<std::vector<float>>{p.values(),
                                           m.values(),
                                           v.values(),
                                           p8.values(),
                                           {m_codes.begin(), m_codes.end()},
                                           {v_codes.begin(), v_codes.end()},
                                           m8.scales.values(),
                                           v8.scales.values()};
  });
}

void check_all(Checks& checks) {
  for (size_t n : kSizes)
    for (const double step : {1, 2, 1000}) check(checks, n, step, n % 3);
  check(checks, 9000, 3, 0);
  check(checks, 0, 1, 0);
  check_same_as_cpu(checks);
  check_8bit_same_as_cpu(checks);
  check_map(checks, true);
  check_map(checks, false);
  for (size_t n : {0, 1, 7, 255, 256, 257, 5000})
    for (size_t offset : {0, 1, 3}) check_8bit(checks, n, offset);
  check_all_runs(checks);
}

}  // namespace

int main() { return run_on_device(check_all); }
