#include <algorithm>
#include <cmath>

#include "cpu/weight/reference.h"
#include "cpu/weight/weight.h"
#include "cuda/weight/testing.h"
#include "cuda/weight/weight.h"

using namespace llmkit;
using namespace llmkit::cuda::testing;

namespace {

std::vector<float> rows_of(const WeightView& weight, const std::vector<int32_t>& ids) {
  const DeviceVector<int32_t> on_device(ids);
  DeviceVector<float> y(ids.size() * weight.cols);
  cuda::DequantizeArgs args;
  args.weight = weight;
  args.count = ids.size();
  args.ids = on_device.data();
  args.y = y.data();
  expect(cuda::dequantize_rows(args, stream()), "dequantize_rows");
  return y.values();
}

std::vector<float> range_of(const WeightView& weight, size_t first, size_t count) {
  DeviceVector<float> y(count * weight.cols);
  cuda::DequantizeArgs args;
  args.weight = weight;
  args.count = count;
  args.first = first;
  args.y = y.data();
  expect(cuda::dequantize_rows(args, stream()), "dequantize_rows");
  return y.values();
}

/// The bits of the CPU's kernel, whose own test holds it against the formula.
void check_case(Checks& checks, const WeightView& host) {
  const UploadedWeight weight(host);
  const size_t rows = host.rows, cols = host.cols;
  std::vector<float> want(rows * cols);
  weight_f32().decode(host, 0, rows * cols, want.data());
  for (size_t first : {size_t{0}, rows / 2, rows - 1}) {
    const std::vector<float> got = range_of(weight.view(), first, rows - first);
    checks.same("rows", got.data(), want.data() + first * cols, got.size());
  }
  const auto last = static_cast<int32_t>(rows - 1);
  const std::vector<int32_t> ids = {last, 0, -1, last, static_cast<int32_t>(rows), INT32_MIN};
  const std::vector<float> got = rows_of(weight.view(), ids);
  for (size_t i = 0; i < ids.size(); ++i) {
    const float* const row = got.data() + i * cols;
    const bool good = ids[i] >= 0 && ids[i] <= last;
    if (good)
      checks.same("ids", row, want.data() + ids[i] * static_cast<int>(cols), cols);
    else
      checks.that("no row", std::all_of(row, row + cols, [](float y) { return std::isnan(y); }));
  }
}

/// Every half and every bf16 value, subnormal numbers and infinities included.
void check_all_values(Checks& checks) {
  std::vector<uint16_t> bits(65536);
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<uint16_t>(i);
  WeightView host;
  host.rows = 4;
  host.cols = bits.size() / 4;
  host.codes = reinterpret_cast<const uint8_t*>(bits.data());
  for (const WeightFormat format : {WeightFormat::kF16, WeightFormat::kBf16}) {
    host.format = format;
    const UploadedWeight weight(host);
    const std::vector<float> got = range_of(weight.view(), 0, host.rows);
    for (size_t i = 0; i < bits.size(); ++i) {
      const float want = decode_reference(host, i);
      checks.that("value", std::isnan(want) ? std::isnan(got[i])
                                            : std::memcmp(&want, &got[i], sizeof want) == 0);
    }
  }
}

void check_all(Checks& checks) {
  std::vector<WeightCase> cases = weight_cases();
  using F = WeightFormat;
  for (const F format : {F::kInt8, F::kInt4, F::kNf4, F::kFp4})
    for (const bool nested : {false, true})
      for (const size_t group : {1, 3, 24, 64, 700})
        cases.push_back({format, 11, 53, group, nested, format <= F::kInt4 && group != 24});
  for (const WeightCase& c : cases) check_case(checks, RandomWeight(c).view);
  check_all_values(checks);
  if (tests_long_cases()) {
    check_case(checks, RandomWeight({F::kInt4, 128256, 64, 32, false, true}).view);
    check_case(checks, RandomWeight({F::kBf16, 151936, 40, 0, false, false}).view);
  }
  DeviceVector<float> y(1);
  cuda::DequantizeArgs none;
  none.weight = dense_view(nullptr, 3, 5);
  none.count = 0;
  none.y = y.data();
  checks.that("no rows", cuda::dequantize_rows(none, stream()) == cudaSuccess);
}

}  // namespace

int main() { return run_on_device(check_all); }
