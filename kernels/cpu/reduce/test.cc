#include "base/parallel.h"
#include "cpu/reduce/reduce.h"
#include "testing/testing.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

void check(Checks& checks, size_t outer, size_t middle, size_t inner) {
  const Buffer x(outer * middle * inner, 1);
  Buffer sums(outer * inner, 2), means(outer * inner, 3), most(outer * inner, 4);
  reduce(Reduction::kSum, {outer, middle, inner, x.data(), sums.data()});
  reduce(Reduction::kMean, {outer, middle, inner, x.data(), means.data()});
  reduce(Reduction::kMax, {outer, middle, inner, x.data(), most.data()});
  for (size_t i = 0; i < outer * inner; ++i) {
    Sum sum;
    double largest = -INFINITY;
    for (size_t j = 0; j < middle; ++j) {
      const float value = x[(i / inner * middle + j) * inner + i % inner];
      sum.add(value);
      largest = std::fmax(largest, value);
    }
    const double count = static_cast<double>(middle);
    checks.near("sum", sums[i], sum.value, ulps_of(middle), sum.scale());
    checks.near("mean", means[i], sum.value / count, ulps_of(middle), sum.scale() / count);
    checks.that("max", most[i] == largest);
  }
}

void check_argmax(Checks& checks, size_t cols) {
  Buffer x(3 * cols, 1);
  int32_t got[3];
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::round(x[i]);  // ties
  argmax(3, cols, x.data(), got);
  for (size_t r = 0; r < 3; ++r) {
    size_t want = 0;
    for (size_t c = 1; c < cols; ++c)
      if (x[r * cols + c] > x[r * cols + want]) want = c;
    checks.that("argmax", got[r] == static_cast<int32_t>(want));
  }
}

void check_special_values(Checks& checks) {
  for (size_t place : {0, 3, 16, 20, 39}) {
    std::vector<float> x(40, 1.0f);
    x[place] = NAN;
    float most;
    int32_t best;
    reduce(Reduction::kMax, {1, 40, 1, x.data(), &most});
    checks.that("max with NaN", std::isnan(most));
    argmax(1, 40, x.data(), &best);
    checks.that("argmax passes over NaN", best == (place == 0 ? 0 : 0));
    std::vector<float> columns(80, 1.0f);
    columns[2 * place] = NAN;
    float both[2];
    reduce(Reduction::kMax, {1, 40, 2, columns.data(), both});
    checks.that("max of columns with NaN", std::isnan(both[0]) && both[1] == 1);
  }
  const float lowest[] = {-INFINITY, -INFINITY};
  int32_t best;
  argmax(1, 2, lowest, &best);
  checks.that("argmax of -inf", best == 0);
}

void check_all(Checks& checks) {
  set_thread_count(3);
  for (size_t size : kSizes) {
    check(checks, 3, size, 1);
    check(checks, 1, 5, size);
    check(checks, 2, size, 3);
    check_argmax(checks, size);
  }
  check(checks, 0, 5, 1);
  check(checks, 3, 5, 0);
  float none = 1;
  reduce(Reduction::kSum, {1, 0, 1, nullptr, &none});
  checks.that("a sum of nothing", none == 0);
  check(checks, 600, 90, 1);
  check(checks, 1, 900, 300);
  check_special_values(checks);
}

}  // namespace

int main() { return run(check_all); }
