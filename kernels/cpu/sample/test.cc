#include <numeric>

#include "base/parallel.h"
#include "cpu/sample/reference.h"
#include "cpu/sample/sample.h"
#include "testing/testing.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

constexpr double kUniforms[] = {0, 0.01, 0.25, 0.5, 0.731, 0.98, 1 - 0x1p-53};

/// The id's stretch of the cumulative distribution holds the drawn number, to the rounding of a sum
/// in float64.
void check_draws(Checks& checks, SampleArgs args) {
  const std::vector<long double> weights = reference::sample_weights(args);
  std::vector<long double> sums(args.vocab);
  std::partial_sum(weights.begin(), weights.end(), sums.begin());
  const long double slack = sums.back() * ulps_of(args.vocab) * 0x1p-52L;
  for (const double uniform : kUniforms) {
    args.uniform = uniform;
    const int64_t id = sample(args);
    checks.that("an id", id >= 0 && id < static_cast<int64_t>(args.vocab));
    if (id < 0) continue;
    const long double begin = id == 0 ? 0 : sums[id - 1], at = uniform * sums.back();
    checks.that("not cut", weights[id] > 0);
    checks.that("where the number falls", begin <= at + slack && sums[id] >= at - slack);
    set_thread_count(1);
    checks.that("whatever the threads", sample(args) == id);
    set_thread_count(2);
  }
}

SampleArgs plain(const Buffer& logits) {
  return {logits.size(), logits.data(), nullptr, 0, 1, 1, 0, 1, 0};
}

void check_settings(Checks& checks, size_t vocab, float spread) {
  Buffer logits(vocab, 3);
  for (size_t i = 0; i < vocab; ++i) logits[i] *= spread;
  const int32_t seen[] = {0, static_cast<int32_t>(vocab - 1)};
  for (size_t top_k : {size_t{0}, size_t{1}, size_t{5}, vocab / 2, vocab})
    for (double top_p : {0.0, 0.3, 0.9, 0.999999, 1.0})
      for (double temperature : {0.3, 1.0, 30.0}) {
        SampleArgs args = plain(logits);
        args.top_k = top_k;
        args.top_p = top_p;
        args.temperature = temperature;
        check_draws(checks, args);
        args.penalty = 1.3;
        args.seen = seen;
        args.seen_count = vocab > 1 ? 2 : 1;
        check_draws(checks, args);
      }
}

void check_greedy(Checks& checks, size_t vocab) {
  Buffer logits(vocab, 4);
  SampleArgs args = plain(logits);
  args.temperature = 0;
  for (size_t best : {size_t{0}, vocab / 2, vocab - 1}) {
    logits[vocab - 1] = logits[best] = 100.0f + static_cast<float>(best);
    checks.that("the first of the largest", sample(args) == static_cast<int64_t>(best));
    SampleArgs lowered = args;
    const int32_t seen = static_cast<int32_t>(best);
    lowered.penalty = 2;
    lowered.seen = &seen;
    lowered.seen_count = 1;
    if (best < vocab - 1)
      checks.that("but what is lowered", sample(lowered) == static_cast<int64_t>(vocab - 1));
  }
  for (size_t i = 0; i < vocab; ++i) logits[i] = i % 2 ? NAN : -INFINITY;
  checks.that("nothing finite", sample(args) == -1);
  logits[vocab - 1] = -3;
  checks.that("one finite", sample(args) == static_cast<int64_t>(vocab - 1));
  args.temperature = 1;
  args.top_k = 2;
  args.top_p = 0.5;
  checks.that("one to draw", sample(args) == static_cast<int64_t>(vocab - 1));
  logits[0] = INFINITY;
  checks.that("infinite", sample(args) == -1);
}

/// Equal weights: cuts fall among them, the first ids stay.
void check_equals(Checks& checks, size_t vocab) {
  Buffer logits(vocab, 5);
  for (size_t i = 0; i < vocab; ++i) logits[i] = 2;
  SampleArgs args = plain(logits);
  args.top_p = 0.5;
  args.uniform = 1 - 0x1p-53;
  checks.that("half of them", sample(args) == static_cast<int64_t>((vocab + 1) / 2 - 1));
  args.top_p = 1;
  args.top_k = 1;
  checks.that("equal to the k-th", sample(args) == static_cast<int64_t>(vocab - 1));
}

void check_all(Checks& checks) {
  set_thread_count(2);
  check_greedy(checks, 4096);  // of whole blocks, and more
  check_greedy(checks, 50257);
  for (size_t vocab : kSizes) {
    check_settings(checks, vocab, 3);
    check_greedy(checks, vocab);
    check_equals(checks, vocab);
  }
  check_settings(checks, 5003, 0.1f);
  check_settings(checks, 3001, 400);  // weights down to 0 by way of subnormal numbers
  check_equals(checks, 50257);
}

}  // namespace

int main() { return run(check_all); }
