#include <initializer_list>

#include "cuda/quantize/quantize.h"
#include "cuda/testing/testing.h"

// The bytes of kernels/cpu/quantize, which has its own tests against the formulas.

using namespace llmkit;
using llmkit::cuda::testing::Checks;
using llmkit::cuda::testing::DeviceVector;
using llmkit::cuda::testing::expect;
using llmkit::cuda::testing::stream;

namespace {

using F = WeightFormat;

struct Case {
  F format;
  size_t rows, cols, group_size;
  bool zero_points = false;
};

constexpr Case kCases[] = {
    {F::kInt4, 5, 64, 32},      {F::kInt4, 300, 96, 32, true}, {F::kInt4, 7, 35, 35},
    {F::kInt4, 7, 35, 5, true}, {F::kInt4, 3, 17, 1},          {F::kInt4, 2, 9001, 9001, true},
    {F::kInt8, 9, 100, 100},    {F::kInt8, 7, 33, 33, true},   {F::kInt8, 40, 512, 64, true},
    {F::kInt8, 3, 9001, 9001},  {F::kNf4, 9, 64, 64},          {F::kNf4, 7, 37, 64},
    {F::kNf4, 300, 96, 32},     {F::kNf4, 5, 4100, 4096},      {F::kFp4, 9, 64, 64},
    {F::kFp4, 7, 37, 32},       {F::kFp4, 99, 300, 128},
};

/// Values as they are stored: groups of zeros, of tiny and of huge numbers, values halfway between
/// codes.
std::vector<uint8_t> dense_bytes(const Case& c, F stored, float spread) {
  std::vector<float> values = cuda::testing::random_normal(c.rows * c.cols, 7);
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t kind = i / c.group_size % 7;
    if (kind == 3) values[i] = 0;
    if (kind == 4) values[i] *= spread == 1 ? 1e-41f : 0x1p-22f;
    if (kind == 5) values[i] = static_cast<float>(static_cast<int>(i % 31) - 15) / 2;
    if (kind == 6) values[i] = std::fabs(values[i]) * spread;
    uint32_t bits;
    std::memcpy(&bits, &values[i], sizeof bits);
    if (stored == F::kBf16) bits >>= 16;
    if (stored == F::kF16) bits = (bits >> 16 & 0x8000) | (i * 37 + kind * 1024) % 0x7c00;
    for (size_t byte = 0; byte < (stored == F::kF32 ? 4 : 2); ++byte)
      bytes.push_back(static_cast<uint8_t>(bits >> 8 * byte));
  }
  return bytes;
}

/// What a quantizer makes.
struct Made {
  std::vector<uint8_t> codes, zeros;
  std::vector<float> scales;
  SquareSums sums;
  bool finite = true;

  Made(const Case& c, uint8_t poison)
      : codes(c.format == F::kInt8 ? c.rows * c.cols : (c.rows * c.cols + 1) / 2, poison),
        zeros((c.rows * c.cols + c.group_size - 1) / c.group_size, poison),
        scales(zeros.size()) {}
};

Made by_cpu(const Case& c, const QuantizeSpec& spec, F stored, const std::vector<uint8_t>& bytes) {
  Made made(c, 0);
  WeightView view;
  view.format = stored;
  view.rows = c.rows;
  view.cols = c.cols;
  view.codes = bytes.data();
  const auto sums = quantize(
      view, spec,
      {made.codes.data(), made.scales.data(), c.zero_points ? made.zeros.data() : nullptr});
  made.finite = sums.has_value();
  if (sums) made.sums = *sums;
  return made;
}

Made by_device(const Case& c, const QuantizeSpec& spec, F stored,
               const std::vector<uint8_t>& bytes) {
  Made made(c, 0);
  const size_t run = cuda::quantize_run(c.group_size);
  const DeviceVector<uint8_t> values(bytes);
  DeviceVector<uint8_t> codes(made.codes.size()), zeros(made.zeros.size());
  DeviceVector<float> scales(made.scales.size());
  DeviceVector<cuda::RunSums> sums((c.rows * c.cols + run - 1) / run);
  DeviceVector<int32_t> not_finite(std::vector<int32_t>{0});
  cuda::QuantizeArgs args = {};
  args.format = stored;
  args.values = values.data();
  args.count = c.rows * c.cols;
  args.spec = spec;
  args.parts = {codes.data(), scales.data(), c.zero_points ? zeros.data() : nullptr};
  args.sums = sums.data();
  args.not_finite = not_finite.data();
  expect(cuda::quantize(args, stream()), "quantize");
  made.codes = codes.values();
  made.scales = scales.values();
  if (c.zero_points) made.zeros = zeros.values();
  made.finite = not_finite.values()[0] == 0;
  for (const cuda::RunSums& part : sums.values()) {
    made.sums.values += part.values;
    made.sums.errors += part.errors;
  }
  return made;
}

void check_case(Checks& checks, const Case& c, ScaleType type, F stored, float spread,
                QuantizeMethod method = QuantizeMethod::kNearest) {
  const QuantizeSpec spec = {c.format, c.group_size, type, c.zero_points, method};
  const std::vector<uint8_t> bytes = dense_bytes(c, stored, spread);
  const Made got = by_device(c, spec, stored, bytes), want = by_cpu(c, spec, stored, bytes);
  checks.that("finite", got.finite && want.finite);
  checks.that("codes", got.codes == want.codes);
  checks.that("scales", cuda::testing::same_bytes(got.scales, want.scales));
  if (c.zero_points) checks.that("zeros", got.zeros == want.zeros);
  // The scalar kernels round a product before it is added; all others fuse them.
  if (std::strcmp(isa_name(), "scalar") == 0) return;
  checks.that("sum of squares", got.sums.values == want.sums.values);
  checks.that("sum of errors", got.sums.errors == want.sums.errors);
}

void check_not_finite(Checks& checks, const Case& c, F stored) {
  const QuantizeSpec spec = {c.format, c.group_size, ScaleType::kBf16, c.zero_points};
  const size_t size = stored == F::kF32 ? 4 : 2;
  for (const uint32_t wrong : {0xff800000u, 0x7fc00000u})
    for (const size_t element : {size_t{0}, c.cols, c.rows * c.cols - 1}) {
      std::vector<uint8_t> bytes = dense_bytes(c, stored, 1);
      const uint32_t half = wrong == 0xff800000u ? 0xfc00u : 0x7e00u;
      const uint32_t bits = stored == F::kF32 ? wrong : stored == F::kBf16 ? wrong >> 16 : half;
      for (size_t byte = 0; byte < size; ++byte)
        bytes[element * size + byte] = static_cast<uint8_t>(bits >> 8 * byte);
      checks.that("not finite", !by_device(c, spec, stored, bytes).finite);
    }
}

void check_all(Checks& checks) {
  for (const Case& c : kCases)
    for (const F stored : {F::kF32, F::kBf16, F::kF16}) {
      for (const ScaleType type : {ScaleType::kF32, ScaleType::kBf16, ScaleType::kF16}) {
        check_case(checks, c, type, stored, 1);
        check_case(checks, c, type, stored, 3e4f);
      }
      for (const float spread : {1.0f, 3e4f})
        check_case(checks, c, ScaleType::kBf16, stored, spread, QuantizeMethod::kSearch);
      check_not_finite(checks, c, stored);
    }
  for (const ScaleType type : {ScaleType::kF32, ScaleType::kF16})
    check_case(checks, {F::kInt4, 30, 96, 32, true}, type, F::kF32, 3e4f, QuantizeMethod::kSearch);
}

}  // namespace

int main() { return cuda::testing::run_on_device(check_all); }
