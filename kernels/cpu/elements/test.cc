#include "base/bf16.h"
#include "base/parallel.h"
#include "cpu/elements/elements.h"
#include "testing/held.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// Every way between float32 and bf16, `offset` elements into the arrays, and what lies behind
/// them.
void check(Checks& checks, size_t n, size_t offset) {
  const Buffer x(n, 1, offset);
  std::vector<uint16_t> halves(n + offset + 1, 7), copied(n + offset + 1, 7);
  std::vector<float> floats(n + offset + 1, 7);
  convert(n, x.data(), halves.data() + offset);
  convert(n, halves.data() + offset, floats.data() + offset);
  convert(n, halves.data() + offset, copied.data() + offset);
  for (size_t i = 0; i < n; ++i) {
    checks.that("rounded", halves[offset + i] == to_bf16(x[i]));
    checks.that("widened", floats[offset + i] == from_bf16(halves[offset + i]));
    checks.that("copied", copied[offset + i] == halves[offset + i]);
  }
  checks.that("nothing behind",
              halves[n + offset] == 7 && copied[n + offset] == 7 && floats[n + offset] == 7);
  convert(n, x.data(), floats.data() + offset);
  checks.same("float32 copied", floats.data() + offset, x.data(), n);
}

/// Ties, what a carry would make an infinity of, subnormal values, and what is no number.
void check_edges(Checks& checks) {
  const uint32_t bits[] = {0x3f808000, 0x3f818000, 0x3f808001, 0x7f7fffff, 0xff800000,
                           0x00000001, 0x80008000, 0x7f800001, 0xffffffff};
  for (const uint32_t value : bits) {
    const float x = float_of(value);
    uint16_t half;
    float back;
    convert(1, &x, &half);
    convert(1, &half, &back);
    const bool number = x == x;
    checks.that("edge", number ? half == to_bf16(x) : back != back);
    checks.that("exact", !number || bits_of(back) == uint32_t{half} << 16);
  }
}

/// Values that are in place are not copied.
void check_places(Checks& checks) {
  const Buffer x(40, 1);
  float buffer[40], back[40];
  uint16_t halves[40];
  checks.that("in place", widened(x.data(), 40, buffer) == x.data());
  const Result rounded(halves, buffer), whole(back, buffer);
  std::memcpy(rounded.values(), x.data(), sizeof back);
  std::memcpy(whole.values(), x.data(), sizeof back);
  rounded.put(40);
  whole.put(40);
  checks.same("whole", back, x.data(), 40);
  for (size_t i = 0; i < 40; ++i) checks.that("put", halves[i] == to_bf16(x[i]));
  checks.that("widened",
              widened(halves, 40, buffer) == buffer && buffer[3] == from_bf16(halves[3]));
}

/// Columns of a matrix: in place, or rows one behind the other.
void check_rows(Checks& checks) {
  const Held x(3 * 40, 1);
  float buffer[3 * 17];
  const FloatRows in_place = widened_rows(x.floats() + 5, 3, 17, 40, buffer);
  checks.that("rows in place", in_place.values == x.floats() + 5 && in_place.ld == 40);
  const FloatRows rows = widened_rows(x.data() + 5, 3, 17, 40, buffer);
  checks.that("rows in the buffer", rows.values == buffer && rows.ld == 17);
  for (size_t row = 0; row < 3; ++row)
    checks.same("row", buffer + row * 17, x.floats() + row * 40 + 5, 17);
}

void check_all(Checks& checks) {
  set_thread_count(3);
  for (size_t n : kSizes)
    for (size_t offset : kOffsets) check(checks, n, offset);
  check(checks, 0, 1);
  check(checks, 300000, 1);
  check_edges(checks);
  check_places(checks);
  check_rows(checks);
}

}  // namespace

int main() { return run(check_all); }
