#include <unistd.h>

#include <cstdio>
#include <initializer_list>

#include "cpu/quantize/kernels.h"
#include "cpu/quantize/quantize.h"
#include "cpu/quantize/reference_search.h"
#include "testing/testing.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

using F = WeightFormat;

struct Case {
  F format;
  size_t rows, cols, group_size;
  bool zero_points = false;
  ScaleType scale_type = ScaleType::kBf16;
};

/// A matrix in a dense format, at an odd address, with groups of zeros, of tiny and of huge numbers
/// and values halfway between codes.
class DenseMatrix {
 public:
  DenseMatrix(F format, const Case& c, float spread) {
    const size_t size = c.rows * c.cols, bytes = format == F::kF32 ? 4 : 2;
    std::vector<float> values = random_normal(size, 7);
    for (size_t i = 0; i < size; ++i) {
      const size_t kind = i / c.group_size % 7;
      if (kind == 3) values[i] = 0;
      if (kind == 4) values[i] *= spread == 1 ? 1e-41f : 0x1p-22f;
      if (kind == 5) values[i] = static_cast<float>(static_cast<int>(i % 31) - 15) / 2;
      if (kind == 6) values[i] = std::fabs(values[i]) * spread;
    }
    memory_.resize(size * bytes + 1);
    view.format = format;
    view.rows = c.rows;
    view.cols = c.cols;
    view.codes = memory_.data() + 1;
    for (size_t i = 0; i < size; ++i) put(format, values[i], memory_.data() + 1 + i * bytes);
    for (size_t i = 0; i < size; ++i) floats.push_back(decode_reference(view, i));
  }

  WeightView view;
  std::vector<float> floats;

  /// Replaces an element by NaN or infinity.
  void spoil(size_t element, bool infinite) {
    const bool f16 = view.format == F::kF16;
    const uint32_t bits = infinite ? (f16 ? 0xfc00u : 0xff800000u) : (f16 ? 0x7e00u : 0x7fc00000u);
    const size_t bytes = view.format == F::kF32 ? 4 : 2;
    const uint32_t stored = view.format == F::kBf16 ? bits >> 16 : bits;
    std::memcpy(memory_.data() + 1 + element * bytes, &stored, bytes);
  }

 private:
  /// Cut off, not rounded: any number will do.
  static void put(F format, float value, uint8_t* out) {
    uint32_t bits;
    if (format == F::kF16) {
      const uint32_t sign = std::signbit(value) ? 0x8000 : 0;
      const double magnitude = std::fmin(std::fabs(value), 60000.0);
      const int exponent = magnitude < 0x1p-14 ? -14 : std::ilogb(magnitude);
      const auto digits = static_cast<uint32_t>(std::ldexp(magnitude, 10 - exponent));
      const auto power = static_cast<uint32_t>(exponent + 14) << 10;
      bits = sign | (digits < 1024 ? digits : power + digits);
    } else {
      std::memcpy(&bits, &value, 4);
      if (format == F::kBf16) bits >>= 16;
    }
    std::memcpy(out, &bits, format == F::kF32 ? 4 : 2);
  }

  std::vector<uint8_t> memory_;
};

std::vector<Case> cases() {
  return {
      {F::kInt4, 5, 64, 32},         {F::kInt4, 9, 256, 128},    {F::kInt4, 300, 96, 32, true},
      {F::kInt4, 7, 35, 35},         {F::kInt4, 7, 35, 5, true}, {F::kInt4, 3, 20000, 20000, true},
      {F::kInt4, 3, 17, 1},          {F::kInt8, 9, 100, 100},    {F::kInt8, 7, 33, 33, true},
      {F::kInt8, 40, 512, 64, true}, {F::kInt8, 3, 9001, 9001},  {F::kNf4, 9, 64, 64},
      {F::kNf4, 7, 37, 64},          {F::kNf4, 300, 96, 32},     {F::kNf4, 5, 4100, 4096},
      {F::kFp4, 9, 64, 64},          {F::kFp4, 7, 37, 32},       {F::kFp4, 99, 300, 128}};
}

/// The sums that quantize and quantization_error give, against double. A lane adds up `run` / 16
/// squares of errors, which are differences of numbers rounded to float32.
void check_change(Checks& checks, const Case& c, const DenseMatrix& matrix,
                  const QuantizedReference& parts, const SquareSums& made) {
  const std::vector<uint8_t> codes = packed_reference(parts.codes, c.format);
  WeightView quantized = {};
  quantized.format = c.format;
  quantized.rows = c.rows;
  quantized.cols = c.cols;
  quantized.codes = codes.data();
  quantized.group_size = c.group_size;
  quantized.scales = parts.scales.data();
  quantized.zeros = c.zero_points ? parts.zeros.data() : nullptr;
  double values = 0, errors = 0;
  for (size_t i = 0; i < matrix.floats.size(); ++i) {
    const double w = matrix.floats[i], error = w - decode_reference(quantized, i);
    values += w * w;
    errors += error * error;
  }
  const double ulps = ulps_of(std::max<size_t>(8192, c.group_size));
  for (const SquareSums& got : {made, quantization_error(matrix.view, quantized)}) {
    checks.near("sum of squares", got.values, values, ulps);
    checks.near("sum of errors", got.errors, errors, ulps);
  }
}

void check_case(Checks& checks, const Case& c, const DenseMatrix& matrix) {
  const size_t size = c.rows * c.cols, groups = (size + c.group_size - 1) / c.group_size;
  const QuantizeSpec spec = {c.format, c.group_size, c.scale_type, c.zero_points};
  const size_t bytes = c.format == F::kInt8 ? size : (size + 1) / 2;
  std::vector<uint8_t> codes(bytes, 0xaa), zeros(groups, 0xaa);
  std::vector<float> scales(groups);
  const auto change = quantize(
      matrix.view, spec, {codes.data(), scales.data(), c.zero_points ? zeros.data() : nullptr});
  const QuantizedReference want = quantize_reference(matrix.floats, spec);
  checks.that("finite", change.has_value());
  if (change) check_change(checks, c, matrix, want, *change);
  checks.that("codes", codes == packed_reference(want.codes, c.format));
  checks.same("scales", scales.data(), want.scales.data(), groups);
  if (c.zero_points) checks.that("zeros", zeros == want.zeros);
}

void check_not_finite(Checks& checks, const Case& c, F dense) {
  for (const bool infinite : {false, true})
    for (const size_t element : {size_t{0}, c.cols, c.rows * c.cols - 1}) {
      DenseMatrix matrix(dense, c, 1);
      matrix.spoil(element, infinite);
      std::vector<uint8_t> codes(c.rows * c.cols), zeros(c.rows * c.cols);
      std::vector<float> scales(c.rows * c.cols);
      const QuantizeSpec spec = {c.format, c.group_size, c.scale_type, c.zero_points};
      checks.that("not finite",
                  !quantize(matrix.view, spec, {codes.data(), scales.data(), zeros.data()}));
    }
}

/// What quantizing makes of a matrix.
struct Made {
  std::vector<uint8_t> codes, zeros;
  std::vector<float> scales;

  Made(const Case& c, const QuantizeSpec& spec, const WeightView& matrix,
       const MatrixFile* file = nullptr)
      : codes(c.format == F::kInt8 ? c.rows * c.cols : (c.rows * c.cols + 1) / 2),
        zeros((c.rows * c.cols + c.group_size - 1) / c.group_size),
        scales(zeros.size()) {
    quantize(matrix, spec, {codes.data(), scales.data(), c.zero_points ? zeros.data() : nullptr},
             file);
  }

  GroupGrid grid(size_t group, const Case& c) const {
    const double half = c.format == F::kInt8 ? 128 : 8;
    return {scales[group], c.zero_points ? zeros[group] - half : 0};
  }
};

/// The bytes of the scalar kernels, whichever were used.
void check_scalar_bytes(Checks& checks, const Case& c, const QuantizeSpec& spec,
                        const DenseMatrix& matrix, const Made& made) {
  std::vector<uint8_t> codes(matrix.floats.size()), zeros(made.zeros.size());
  std::vector<float> scales(made.scales.size());
  SquareSums sums;
  quantize_scalar.groups(spec,
                         {matrix.floats.data(),
                          codes.size(),
                          {codes.data(), scales.data(), c.zero_points ? zeros.data() : nullptr}},
                         sums);
  checks.that("scalar codes", made.codes == packed_reference(codes, c.format));
  checks.same("scalar scales", made.scales.data(), scales.data(), scales.size());
  checks.that("scalar zeros", made.zeros == zeros);
}

/// Every group: the codes nearest to its grid, no more error than rounding to nearest leaves. In
/// float32 the search may take two errors as equal that differ by what its sums round.
void check_search(Checks& checks, const Case& c, const DenseMatrix& matrix) {
  const QuantizeSpec spec = {c.format, c.group_size, c.scale_type, c.zero_points,
                             QuantizeMethod::kSearch};
  const Made made(c, spec, matrix.view);
  check_scalar_bytes(checks, c, spec, matrix, made);
  const QuantizedReference nearest = quantize_reference(matrix.floats, spec);
  for (size_t group = 0; group < made.scales.size(); ++group) {
    const size_t begin = group * c.group_size;
    const size_t count = std::min(c.group_size, matrix.floats.size() - begin);
    const float* const x = matrix.floats.data() + begin;
    const double half = c.format == F::kInt8 ? 128 : 8;
    const GroupGrid before = {nearest.scales[group],
                              c.zero_points ? nearest.zeros[group] - half : 0};
    const double was = error_reference(x, count, before, spec);
    const double is = error_reference(x, count, made.grid(group, c), spec);
    const double slack = ulps_of(c.group_size) * std::numeric_limits<float>::epsilon();
    checks.that("no more error", !(is > was * (1 + slack)));
  }
}

/// Int8 is left out: there the gain is a few hundredths, in scales nearer to one another than those
/// that are tried.
std::vector<Case> gain_cases() {
  return {{F::kNf4, 40, 64, 64},   {F::kNf4, 3, 4096, 4096},       {F::kFp4, 40, 64, 64},
          {F::kInt4, 40, 128, 32}, {F::kInt4, 40, 128, 128, true}, {F::kInt4, 3, 2000, 2000}};
}

/// On average a search keeps most of what trying every scale and zero point gains.
void check_gain(Checks& checks, const Case& c) {
  const QuantizeSpec spec = {c.format, c.group_size, c.scale_type, c.zero_points,
                             QuantizeMethod::kSearch};
  const std::vector<float> floats = random_normal(c.rows * c.cols, 9);
  WeightView view = {};
  view.rows = c.rows;
  view.cols = c.cols;
  view.codes = reinterpret_cast<const uint8_t*>(floats.data());
  const Made made(c, spec, view);
  const QuantizedReference nearest = quantize_reference(floats, spec);
  double was = 0, is = 0, least = 0;
  for (size_t group = 0; group < made.scales.size(); ++group) {
    const float* const x = floats.data() + group * c.group_size;
    const double half = c.format == F::kInt8 ? 128 : 8;
    const GroupGrid before = {nearest.scales[group],
                              c.zero_points ? nearest.zeros[group] - half : 0};
    was += error_reference(x, c.group_size, before, spec);
    is += error_reference(x, c.group_size, made.grid(group, c), spec);
    least += least_error_reference(x, c.group_size, before, spec);
  }
  checks.that("most of the gain", was - is > 0.95 * (was - least));
}

/// Values of a file instead of those in memory, in several reads; where the file ends too soon, the
/// memory's.
void check_file(Checks& checks, const Case& c, F dense) {
  const DenseMatrix matrix(dense, c, 1);
  const size_t size = c.rows * c.cols * (dense == F::kF32 ? 4 : 2), offset = 3;
  const QuantizeSpec spec = {c.format, c.group_size, c.scale_type, c.zero_points};
  const Made want(c, spec, matrix.view);
  const std::vector<uint8_t> nothing(size);
  for (const bool whole : {true, false}) {
    std::FILE* const file = std::tmpfile();
    std::fwrite(nothing.data(), 1, offset, file);
    std::fwrite(matrix.view.codes, 1, whole ? size : size - 1, file);
    std::fflush(file);
    const MatrixFile place = {fileno(file), offset};
    WeightView view = matrix.view;
    if (whole) view.codes = nothing.data();
    const Made made(c, spec, view, &place);
    checks.that("codes of a file", made.codes == want.codes);
    checks.same("scales of a file", made.scales.data(), want.scales.data(), made.scales.size());
    std::fclose(file);
  }
}

void check_all(Checks& checks) {
  for (const F dense : {F::kF32, F::kBf16, F::kF16}) {
    check_file(checks, {F::kInt4, 301, 512, 32}, dense);
    check_file(checks, {F::kNf4, 301, 513, 64}, dense);
    check_file(checks, {F::kInt8, 3, 100000, 100000}, dense);
  }
  for (Case c : cases())
    for (const F dense : {F::kF32, F::kBf16, F::kF16}) {
      for (const ScaleType type : {ScaleType::kF32, ScaleType::kBf16, ScaleType::kF16}) {
        c.scale_type = type;
        check_case(checks, c, DenseMatrix(dense, c, 1));
        check_case(checks, c, DenseMatrix(dense, c, 3e4f));
        for (const float spread : {1.0f, 3e4f})
          check_search(checks, c, DenseMatrix(dense, c, spread));
      }
      check_not_finite(checks, c, dense);
    }
  for (const Case& c : gain_cases()) check_gain(checks, c);
  const Case none = {F::kNf4, 0, 64, 64};
  check_case(checks, none, DenseMatrix(F::kF32, none, 1));
  check_search(checks, none, DenseMatrix(F::kF32, none, 1));
}

}  // namespace

int main() { return run(check_all); }
