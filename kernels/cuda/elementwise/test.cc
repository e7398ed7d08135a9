#include <string>

#include "base/bf16.h"
#include "cuda/elementwise/elementwise.h"
#include "cuda/testing/shifted.h"

using namespace llmkit;
using namespace llmkit::cuda::testing;
namespace gpu = llmkit::cuda;

namespace {

size_t place(const char* const* names, size_t count, const char* name) {
  for (size_t i = 0; i < count; ++i)
    if (std::strcmp(names[i], name) == 0) return i;
  return count;
}

std::vector<float> unary_of(Checks& checks, size_t op, const std::vector<float>& x, size_t offset) {
  const Shifted<float> from(x, offset);
  Shifted<float> y(x.size(), offset == 0 ? 2 : 0);
  expect(gpu::unary(op, x.size(), from.data(), y.data(), stream()), kUnaryNames[op]);
  return y.values(checks);
}

struct UnaryCase {
  const char* name;
  double (*want)(double);
  double low, high;
  double ulps;
};

/// The bounds of cpu/elementwise/test.cc.
const UnaryCase kUnaryCases[] = {
    {"abs", [](double x) { return std::fabs(x); }, -10, 10, 0},
    {"erf", [](double x) { return std::erf(x); }, -6, 6, 4},
    {"exp", [](double x) { return std::exp(x); }, -103, 88.7, 2},
    {"exp", [](double x) { return std::exp(x); }, -1, 1, 2},
    {"log", [](double x) { return std::log(x); }, 1e-44, 1e-37, 2},
    {"log", [](double x) { return std::log(x); }, 0.3, 3, 2},
    {"log", [](double x) { return std::log(x); }, 0, 1e38, 2},
    {"neg", [](double x) { return -x; }, -10, 10, 0},
    {"relu", [](double x) { return x > 0 ? x : 0; }, -10, 10, 0},
    {"rsqrt", [](double x) { return 1 / std::sqrt(x); }, 1e-3, 1e6, 1},
    {"sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }, -80, 80, 4},
    {"sqrt", [](double x) { return std::sqrt(x); }, 0, 1e6, 0.5},
    {"square", [](double x) { return x * x; }, -1e3, 1e3, 0.5},
    {"reciprocal", [](double x) { return 1 / x; }, 1e-3, 1e3, 0.5},
    {"step", [](double x) { return x > 0 ? 1.0 : 0.0; }, -1, 1, 0},
    {"tanh", [](double x) { return std::tanh(x); }, -1, 1, 4},
    {"tanh", [](double x) { return std::tanh(x); }, -12, 12, 4},
};

/// To bf16 and back, from and to places where four elements move whole and where they do not.
void check_convert(Checks& checks, size_t n, size_t offset) {
  std::vector<float> x = random_normal(n, 7);
  for (size_t i = 0; i < n && i < 4; ++i) x[i] = std::vector<float>{1 / 0.0f, 3.4e38f, 0, -0.0f}[i];
  std::vector<uint16_t> want;
  std::vector<float> want_back;
  for (float value : x) {
    want.push_back(to_bf16(value));
    want_back.push_back(from_bf16(want.back()));
  }
  const Shifted<float> from(x, offset);
  Shifted<uint16_t> halves(n, 0);
  expect(gpu::convert(n, from.data(), halves.data(), stream()), "convert to bf16");
  const std::vector<uint16_t> got = halves.values(checks);
  checks.that("the nearest bf16", same_bytes(got, want));
  Shifted<float> back(n, offset);
  expect(gpu::convert(n, halves.data(), back.data(), stream()), "convert to float32");
  checks.that("float32 of bf16", same_bytes(back.values(checks), want_back));
}

/// An ulp is that of the exact result, subnormal included.
void check_unary(Checks& checks, const UnaryCase& c) {
  const size_t n = 20003, op = place(kUnaryNames, kUnaryOps, c.name);
  std::vector<float> x(n);
  for (size_t i = 0; i < n; ++i)
    x[i] = static_cast<float>(c.low + (c.high - c.low) * static_cast<double>(i) / (n - 1));
  const std::vector<float> y = unary_of(checks, op, x, 1);
  for (size_t i = 0; i < n; ++i) {
    const double want = c.want(x[i]);
    int exponent = 0;
    std::frexp(want, &exponent);
    const double ulp = std::ldexp(1.0, std::max(exponent, -125) - 24);
    const bool close =
        std::isinf(want) ? y[i] == want : std::fabs(y[i] - want) <= c.ulps * ulp + ulp / 2;
    checks.that(c.name, close);
  }
}

void check_special_values(Checks& checks) {
  const std::vector<float> x = {NAN, INFINITY, -INFINITY, 0.0f, -0.0f};
  const auto apply = [&](const char* name) {
    return unary_of(checks, place(kUnaryNames, kUnaryOps, name), x, 0);
  };
  for (const char* name : kUnaryNames) checks.that(name, std::isnan(apply(name)[0]));
  const std::vector<float> e = apply("exp"), l = apply("log"), t = apply("tanh");
  checks.that("exp", std::isinf(e[1]) && e[2] == 0 && e[3] == 1 && e[4] == 1);
  checks.that("log", std::isinf(l[1]) && std::isnan(l[2]) && l[3] == -INFINITY);
  const std::vector<float> r = apply("erf");
  checks.that("erf", r[1] == 1 && r[2] == -1 && r[3] == 0 && std::signbit(r[4]));
  checks.that("tanh", t[1] == 1 && t[2] == -1 && t[3] == 0 && std::signbit(t[4]));
}

/// The same bits at every place of a four and of a tail, aligned or not.
void check_places(Checks& checks) {
  const std::vector<float> x = random_normal(1000, 1);
  for (size_t op = 0; op < kUnaryOps; ++op) {
    const std::vector<float> y = unary_of(checks, op, x, 0);
    for (size_t n : kSizes)
      for (size_t offset : {1, 2, 3}) {
        const std::vector<float> part(x.begin() + offset, x.begin() + offset + std::min(n, 990ul));
        const std::vector<float> want(y.begin() + offset, y.begin() + offset + part.size());
        checks.that(kUnaryNames[op], same_bytes(unary_of(checks, op, part, offset), want));
      }
  }
}

float binary_reference(const std::string& op, float a, float b) {
  if (op == "add") return a + b;
  if (op == "sub") return a - b;
  if (op == "mul") return a * b;
  if (op == "div") return a / b;
  if (op == "max") return a > b ? a : b;
  if (op == "min") return a < b ? a : b;
  return (a - b) * (a - b);
}

struct BinaryCase {
  size_t rows, cols;
  Broadcast to_a, to_b;
  size_t offset_a, offset_b;
};

void check_binary(Checks& checks, const BinaryCase& c) {
  const size_t n = c.rows * c.cols, sizes[] = {n, c.cols, c.rows, 1};
  const auto size_of = [&](Broadcast broadcast) { return sizes[static_cast<size_t>(broadcast)]; };
  const Random a(size_of(c.to_a), 1, c.offset_a), b(size_of(c.to_b), 2, c.offset_b);
  const auto at = [&](const Random& p, Broadcast broadcast, size_t i) {
    const size_t places[] = {i, i % c.cols, i / c.cols, 0};
    return p[places[static_cast<size_t>(broadcast)]];
  };
  for (size_t op = 0; op < kBinaryOps; ++op) {
    Shifted<float> y(n, c.offset_a);
    const BinaryArgs args = {c.rows, c.cols, {a.data(), c.to_a}, {b.data(), c.to_b}, y.data()};
    expect(gpu::binary(op, args, stream()), kBinaryNames[op]);
    const std::vector<float> got = y.values(checks);
    for (size_t i = 0; i < n; ++i)
      checks.that(kBinaryNames[op],
                  got[i] == binary_reference(kBinaryNames[op], at(a, c.to_a, i), at(b, c.to_b, i)));
  }
}

void check_broadcasts(Checks& checks) {
  const Broadcast all[] = {Broadcast::kFull, Broadcast::kRow, Broadcast::kColumn,
                           Broadcast::kScalar};
  for (const Broadcast to_a : all)
    for (const Broadcast to_b : all)
      for (size_t cols : kSizes)
        for (size_t rows : {0, 3}) check_binary(checks, {rows, cols, to_a, to_b, cols % 4, 1});
  check_binary(checks, {64, 128, Broadcast::kFull, Broadcast::kRow, 0, 0});
  check_binary(checks, {3000, 33, Broadcast::kColumn, Broadcast::kFull, 0, 0});
  check_binary(checks, {3, 4100, Broadcast::kFull, Broadcast::kColumn, 0, 0});
}

void check_not_a_number(Checks& checks) {
  const DeviceVector<float> nan(std::vector<float>{NAN}), one(std::vector<float>{1});
  for (const char* name : {"max", "min"})
    for (const bool first : {false, true}) {
      DeviceVector<float> y(1);
      const Operand a = {(first ? nan : one).data(), Broadcast::kFull};
      const Operand b = {(first ? one : nan).data(), Broadcast::kFull};
      const size_t op = place(kBinaryNames, kBinaryOps, name);
      expect(gpu::binary(op, {1, 1, a, b, y.data()}, stream()), name);
      checks.that("NaN", std::isnan(y.values()[0]));
    }
}

void check_in_place(Checks& checks) {
  const std::vector<float> x = random_normal(1001, 5);
  Shifted<float> y(x, 1);
  const size_t op = place(kUnaryNames, kUnaryOps, "exp");
  expect(gpu::unary(op, x.size(), y.data(), y.data(), stream()), "in place");
  checks.that("in place", same_bytes(y.values(checks), unary_of(checks, op, x, 0)));
}

void check_all(Checks& checks) {
  for (const UnaryCase& c : kUnaryCases) check_unary(checks, c);
  for (size_t n : {1, 4, 7, 1030})
    for (size_t offset : {0, 1, 3}) check_convert(checks, n, offset);
  check_special_values(checks);
  check_places(checks);
  check_broadcasts(checks);
  check_not_a_number(checks);
  check_in_place(checks);
}

}  // namespace

int main() { return run_on_device(check_all); }
