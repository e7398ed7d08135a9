#include <string>

#include "base/parallel.h"
#include "cpu/elementwise/elementwise.h"
#include "testing/testing.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

size_t place(const char* const* names, size_t count, const char* name) {
  for (size_t i = 0; i < count; ++i)
    if (std::strcmp(names[i], name) == 0) return i;
  return count;
}

struct UnaryCase {
  const char* name;
  double (*want)(double);
  double low, high;
  double ulps;
};

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

/// 60 thousand values across the range. An ulp is that of the exact result, subnormal included.
void check_unary(Checks& checks, const UnaryCase& c) {
  const size_t n = 60007, op = place(kUnaryNames, kUnaryOps, c.name);
  std::vector<float> x(n), y(n);
  for (size_t i = 0; i < n; ++i)
    x[i] = static_cast<float>(c.low + (c.high - c.low) * static_cast<double>(i) / (n - 1));
  unary(op, n, x.data(), y.data());
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
  const float x[] = {NAN, INFINITY, -INFINITY, 0.0f, -0.0f};
  const auto apply = [&](const char* name) {
    std::vector<float> y(5);
    unary(place(kUnaryNames, kUnaryOps, name), 5, x, y.data());
    return y;
  };
  for (const char* name : kUnaryNames) checks.that(name, std::isnan(apply(name)[0]));
  const std::vector<float> e = apply("exp"), l = apply("log"), t = apply("tanh");
  checks.that("exp", std::isinf(e[1]) && e[2] == 0 && e[3] == 1 && e[4] == 1);
  checks.that("log", std::isinf(l[1]) && std::isnan(l[2]) && l[3] == -INFINITY);
  const std::vector<float> r = apply("erf");
  checks.that("erf", r[1] == 1 && r[2] == -1 && r[3] == 0 && std::signbit(r[4]));
  checks.that("tanh", t[1] == 1 && t[2] == -1 && t[3] == 0 && std::signbit(t[4]));
}

/// The same bits at every place of a vector and of a tail.
void check_places(Checks& checks) {
  for (size_t op = 0; op < kUnaryOps; ++op) {
    const Buffer x(50, 1);
    Buffer y(50, 2), alone(1, 3);
    unary(op, 50, x.data(), y.data());
    for (size_t i = 0; i < 50; ++i) {
      unary(op, 1, x.data() + i, alone.data());
      checks.that(kUnaryNames[op], std::memcmp(alone.data(), y.data() + i, sizeof(float)) == 0);
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

void check_binary(Checks& checks, size_t rows, size_t cols, Broadcast to_a, Broadcast to_b) {
  const Buffer a(rows * cols, 1), b(rows * cols, 2);
  Buffer y(rows * cols, 3);
  const auto at = [&](const Buffer& p, Broadcast broadcast, size_t i) {
    const size_t places[] = {i, i % cols, i / cols, 0};
    return p[places[static_cast<size_t>(broadcast)]];
  };
  for (size_t op = 0; op < kBinaryOps; ++op) {
    binary(op, {rows, cols, {a.data(), to_a}, {b.data(), to_b}, y.data()});
    for (size_t i = 0; i < rows * cols; ++i)
      checks.that(kBinaryNames[op],
                  y[i] == binary_reference(kBinaryNames[op], at(a, to_a, i), at(b, to_b, i)));
  }
}

void check_all(Checks& checks) {
  set_thread_count(3);
  for (const UnaryCase& c : kUnaryCases) check_unary(checks, c);
  check_special_values(checks);
  check_places(checks);
  const Broadcast all[] = {Broadcast::kFull, Broadcast::kRow, Broadcast::kColumn,
                           Broadcast::kScalar};
  for (const Broadcast to_a : all)
    for (const Broadcast to_b : all)
      for (size_t cols : kSizes) check_binary(checks, 3, cols, to_a, to_b);
  for (const Broadcast to : all) {
    check_binary(checks, 0, 5, to, Broadcast::kFull);
    check_binary(checks, 3, 0, to, Broadcast::kFull);
  }
  check_binary(checks, 3000, 33, Broadcast::kFull, Broadcast::kRow);
  check_binary(checks, 3000, 33, Broadcast::kColumn, Broadcast::kFull);
  const float nan = NAN, one = 1;
  float y;
  for (const char* name : {"max", "min"}) {
    const size_t op = place(kBinaryNames, kBinaryOps, name);
    binary(op, {1, 1, {&nan, Broadcast::kFull}, {&one, Broadcast::kFull}, &y});
    checks.that("NaN first", std::isnan(y));
    binary(op, {1, 1, {&one, Broadcast::kFull}, {&nan, Broadcast::kFull}, &y});
    checks.that("NaN second", std::isnan(y));
  }
}

}  // namespace

int main() { return run(check_all); }
