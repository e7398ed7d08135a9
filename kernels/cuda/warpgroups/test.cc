#include <cmath>
#include <cstdlib>

#include "base/bf16.h"
#include "cuda/testing/testing.h"
#include "cuda/warpgroups/compare.h"
#include "cuda/warpgroups/warpgroups.h"
#ifdef LLMKIT_EMULATED
#include "cuda/emulator/warpgroup.h"
#endif

using namespace llmkit::cuda;
using namespace llmkit::cuda::testing;

namespace {

/// A sum of products, and the sum of their magnitudes.
struct Wanted {
  double value = 0, magnitude = 0;
};

Wanted wanted_sum(const std::vector<uint16_t>& values, int row, int column) {
  Wanted wanted;
  for (int k = 0; k < kCompareDepth; ++k) {
    const double a = llmkit::from_bf16(values[static_cast<size_t>(row * kCompareDepth + k)]);
    const double b =
        llmkit::from_bf16(values[kLeftValues + static_cast<size_t>(column * kCompareDepth + k)]);
    wanted.value += a * b;
    wanted.magnitude += std::fabs(a * b);
  }
  return wanted;
}

/// Sums of all cases near those in double: every value is multiplied with the one it belongs to.
/// Hardware may cut bits off below the largest of 16 products, or take what is subnormal as 0.
void check_sums(Checks& checks, const std::vector<float>& sums) {
  for (int i = 0; i < kCompareCases; ++i) {
    const std::vector<uint16_t> values = compare_values(static_cast<CompareCase>(i));
    for (int row = 0; row < kCompareRows; row += 3)
      for (int column = 0; column < kCompareColumns; column += 5) {
        const float got = sums[i * kCaseSums + static_cast<size_t>(row * kCompareColumns + column)];
        const Wanted want = wanted_sum(values, row, column);
        const double error = std::fabs(got - want.value);
        checks.that("a sum", error <= want.magnitude * 0x1p-20 + kCompareDepth * 0x1p-126);
      }
  }
}

void check_products(Checks& checks) {
  std::vector<uint16_t> values;
  for (int i = 0; i < kCompareCases; ++i) {
    const std::vector<uint16_t> some = compare_values(static_cast<CompareCase>(i));
    values.insert(values.end(), some.begin(), some.end());
  }
  const DeviceVector<uint16_t> device(values);
  DeviceVector<float> sums(kCompareCases * kCaseSums);
  expect(multiply_by_warps(device.data(), sums.data(), stream()), "by warps");
  check_sums(checks, sums.values());
  if (!has_warpgroups()) return;
  for (const GroupForm form : kGroupForms) {
    DeviceVector<float> by_form(kCompareCases * kCaseSums);
    expect(multiply_by_form(form, device.data(), by_form.data(), stream()), "by warpgroups");
    check_sums(checks, by_form.values());
  }
}

#ifdef LLMKIT_EMULATED
void check_found(Checks& checks, const char* what, Warpgroups want) {
  Warpgroups found;
  expect(compare_warpgroups(&found), "compare_warpgroups");
  checks.that(what, found == want);
}
#endif

void check_all(Checks& checks) {
  check_products(checks);
#ifdef LLMKIT_EMULATED
  check_found(checks, "none", Warpgroups::kNone);
  setenv("LLMKIT_EMULATED_SHARED", "232448", 1);  // as on a chip of compute capability 9.0
  check_products(checks);
  check_found(checks, "the same bits", Warpgroups::kSameBits);
  setenv("LLMKIT_EMULATED_MEMORY", "1000", 1);
  check_found(checks, "no memory", Warpgroups::kUnknown);
  unsetenv("LLMKIT_EMULATED_MEMORY");
  emulator::warpgroups_differ = true;
  check_found(checks, "other bits", Warpgroups::kOtherBits);
#else
  std::printf("products of warpgroups: %s\n", kWarpgroupNames[static_cast<size_t>(warpgroups())]);
#endif
}

}  // namespace

int main() { return run_on_device(check_all); }
