#include "cpu/gemm/gemm.h"
#include "cpu/weight/reference.h"
#include "cpu/weight/weight.h"
#include "testing/testing.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

void check_decode(Checks& checks, const WeightView& weight) {
  const size_t size = weight.rows * weight.cols;
  std::vector<float> want(size), got(size);
  for (size_t i = 0; i < size; ++i) want[i] = decode_reference(weight, i);
  for (size_t begin : {size_t{0}, size_t{1}, size_t{16}, weight.cols, weight.cols + 5})
    for (size_t count : {size_t{0}, size_t{1}, size_t{15}, size_t{16}, size_t{47}, size - begin}) {
      weight_f32().decode(weight, begin, count, got.data());
      checks.same("decode", got.data(), want.data() + begin, count);
    }
}

void check_fused(Checks& checks, const WeightView& weight) {
  if (!can_fuse(weight)) return;
  const size_t n = weight.rows, k = weight.cols, first = 1;
  std::vector<float> decoded(n * k);
  weight_f32().decode(weight, 0, n * k, decoded.data());
  for (size_t m = 1; m <= size_t{kMaxFusedRows}; ++m) {
    const Buffer x(m * k, 1), bias(n, 2);
    Buffer want(m * n, 3), got(m * n, 4);
    DotArgs args = {m, n - first,   k,           x.data(), k, decoded.data() + first * k,
                    k, bias.data(), want.data(), n};
    gemm_f32().dot(args);
    args.y = got.data();
    args.w = nullptr;
    weight_f32().fused_product(weight, first, args);
    for (size_t i = 0; i < m; ++i)
      checks.same("fused", got.data() + i * n, want.data() + i * n, n - first);
  }
}

/// Every half, subnormal numbers, infinities and NaN included.
void check_all_halves(Checks& checks) {
  std::vector<uint16_t> halves(65536);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
  WeightView weight;
  weight.format = WeightFormat::kF16;
  weight.rows = 1;
  weight.cols = halves.size();
  weight.codes = reinterpret_cast<const uint8_t*>(halves.data());
  std::vector<float> got(halves.size());
  weight_f32().decode(weight, 0, halves.size(), got.data());
  for (size_t i = 0; i < halves.size(); ++i) {
    const float want = half_reference(halves[i]);
    checks.that("half", std::isnan(want) ? std::isnan(got[i])
                                         : std::memcmp(&want, &got[i], sizeof want) == 0);
  }
}

void check_all(Checks& checks) {
  for (const WeightCase& c : weight_cases()) {
    const RandomWeight weight(c);
    check_decode(checks, weight.view);
    check_fused(checks, weight.view);
  }
  check_all_halves(checks);
}

}  // namespace

int main() { return run(check_all); }
