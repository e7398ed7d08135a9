#include <algorithm>

#include "base/bf16.h"
#include "base/parallel.h"
#include "cpu/split/split.h"
#include "testing/testing.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

/// Element (row, col) of a packed weight of 16-bit codes.
float value_at(const PackedWeight& w, size_t row, size_t col) {
  const uint8_t* const line = w.tile(row / 16) + col / 2 * 64;
  uint16_t half;
  std::memcpy(&half, line + row % 16 * 4 + col % 2 * 2, sizeof half);
  return from_bf16(half);
}

struct Parts {
  float high, low;
};
Parts parts_of(float value) {
  const float high = from_bf16(to_bf16(value));
  return {high, from_bf16(to_bf16(value - high))};
}

/// Where column `col` lies.
size_t place_of(const SplitPlaces& places, size_t col) {
  constexpr size_t kPlace[] = {0, 4, 1, 5, 2, 6, 3, 7};
  const size_t in_group = col % places.group;
  const size_t in_order = in_group / 8 * 8 + kPlace[in_group % 8];
  return col / places.group * places.stride + (places.code_order ? in_order : in_group);
}

void check_rows(Checks& checks, size_t rows, size_t cols, const SplitPlaces& places) {
  const size_t ld = cols + 3, padded_rows = (rows + 15) / 16 * 16;
  const Buffer x(rows * ld, 1);
  for (const size_t parts : {2, 3}) {
    const PackedWeight w = split_rows({x.data(), rows, cols, ld}, places, parts, Scratch::kSplitA);
    checks.that("rows", w.rows == parts * padded_rows && w.padded_cols() % places.stride == 0);
    std::vector<float> want(w.rows * w.padded_cols());
    for (size_t row = 0; row < rows; ++row)
      for (size_t col = 0; col < cols; ++col) {
        const Parts p = parts_of(x[row * ld + col]);
        const float values[] = {p.high, p.low, p.high};
        for (size_t i = 0; i < parts; ++i)
          want[(i * padded_rows + row) * w.padded_cols() + place_of(places, col)] = values[i];
        const float rest = std::fabs(x[row * ld + col] - p.high - p.low);
        checks.that("the rest", rest <= std::fabs(x[row * ld + col]) / 65536);
      }
    for (size_t i = 0; i < want.size(); ++i)
      checks.that("a part", value_at(w, i / w.padded_cols(), i % w.padded_cols()) == want[i]);
  }
}

/// The sum over a row of both factors is that of the products of parts, but low by low.
void check_columns(Checks& checks, size_t rows, size_t cols) {
  const Buffer x(rows * cols, 1), row(cols, 2);
  const PackedWeight w = split_columns({x.data(), rows, cols, cols}, Scratch::kSplitB);
  const size_t width = split_width(cols);
  std::vector<float> other(w.padded_cols());
  split_row(cols, row.data(), width, other.data());
  for (size_t i = 0; i < rows; ++i) {
    double sum = 0, want = 0;
    for (size_t k = 0; k < w.padded_cols(); ++k)
      sum += static_cast<double>(value_at(w, i, k)) * other[k];
    for (size_t k = 0; k < cols; ++k) {
      const Parts a = parts_of(x[i * cols + k]);
      const double high = from_bf16(to_bf16(row[k])), low = row[k] - high;
      want += a.high * (high + low) + a.low * high;
    }
    checks.near("a sum", sum, want, 1, std::fabs(want) + 1);
  }
}

void check_all(Checks& checks) {
  for (const size_t threads : {1, 3}) {
    set_thread_count(threads);
    for (const size_t rows : {1, 8, 15, 16, 17, 33, 70}) {
      for (const size_t cols : {1, 8, 31, 33, 63, 64, 65, 130}) {
        check_columns(checks, rows, cols);
        check_rows(checks, rows, cols, {cols, (cols + 31) / 32 * 32, false});
        check_rows(checks, rows, cols, {64, 64, true});
        check_rows(checks, rows, cols, {20, 24, true});
        check_rows(checks, rows, cols, {30, 32, false});
      }
    }
  }
}

}  // namespace

int main() { return run(check_all); }
