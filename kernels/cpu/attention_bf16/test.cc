#include <algorithm>

#include "base/parallel.h"
#include "cpu/attention/reference.h"
#include "cpu/attention/test_not_finite.h"
#include "cpu/attention_bf16/attention_bf16.h"
#include "cpu/packed_grad/reference.h"
#include "testing/held.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

struct Shape {
  size_t B, T, H, K, E;
};
struct Features {
  float softcap = 0;
  bool slopes = false;
};

/// Random values that bf16 holds.
Buffer rounded_values(size_t n, unsigned seed) {
  Buffer values(n, seed);
  for (size_t i = 0; i < n; ++i) values[i] = bf16_reference(values[i]);
  return values;
}

/// A gradient's inputs and results. Query t of a row is at key t, and sees what it is told.
struct Problem {
  Buffer q, k, v, slopes, dy, y, log_sum_exp, dq, dk, dv;
  std::vector<int32_t> first, last;
  AttentionArgs args;

  Problem(Shape s, Features features)
      : q(rounded_values(s.B * s.T * s.H * s.E, 1)),
        k(rounded_values(s.B * s.T * s.K * s.E, 2)),
        v(rounded_values(k.size(), 3)),
        slopes(s.H, 4),
        dy(rounded_values(q.size(), 5)),
        y(q.size(), 6),
        log_sum_exp(s.B * s.T * s.H, 7),
        dq(q.size(), 8),
        dk(k.size(), 9),
        dv(k.size(), 10),
        first(s.B * s.T),
        last(s.B * s.T, -1) {
    for (size_t h = 0; h < s.H; ++h) slopes[h] = std::exp2(-1.0f - static_cast<float>(h % 8));
    args = {s.B,         s.T,
            s.T,         s.H,
            s.K,         s.E,
            q.data(),    k.data(),
            v.data(),    first.data(),
            last.data(), features.slopes ? slopes.data() : nullptr,
            0.3f,        features.softcap,
            true};
  }
  Problem(const Problem&) = delete;

  /// Causal, with a window, in packed segments of so many keys.
  void see(int32_t window, int32_t segment) {
    for (size_t i = 0; i < first.size(); ++i) {
      last[i] = static_cast<int32_t>(i % args.T);
      first[i] = std::max(last[i] / segment * segment, last[i] - window + 1);
    }
  }

  void run(size_t threads) {
    set_thread_count(threads);
    attention(args, y.data(), log_sum_exp.data());
    attention_grad(args,
                   {y.data(), log_sum_exp.data(), dy.data(), dq.data(), dk.data(), dv.data()});
  }
};

/// Half the distance of neighbouring values of bf16, relative.
constexpr double kBf16Error = 1.0 / 256;

/// Within what rounding weights and scores' gradients to bf16 may change, and so many float32 ulps.
void near_all(Checks& checks, const char* what, const Buffer& got, const std::vector<double>& want,
              const std::vector<double>& error, double ulps) {
  const double eps = std::numeric_limits<float>::epsilon();
  for (size_t i = 0; i < want.size(); ++i) {
    // A sum may cancel, and a row that sees one key has no gradient at all but that of rounding.
    const double limit = kBf16Error * error[i] + ulps * eps * (1 + error[i]);
    checks.near(what, got[i], want[i], limit / eps, 1);
  }
}

void check_values(Checks& checks, Problem& problem) {
  const AttentionArgs& p = problem.args;
  problem.run(3);
  const AttentionReference want(p, problem.dy.data());
  const double ulps = 4 * (ulps_of(p.E) + ulps_of(p.S * p.H / p.K));
  near_all(checks, "y", problem.y, want.y, want.y_error, ulps);
  near_all(checks, "dq", problem.dq, want.dq, want.dq_error, ulps);
  near_all(checks, "dk", problem.dk, want.dk, want.dk_error, ulps);
  near_all(checks, "dv", problem.dv, want.dv, want.dv_error, ulps);
  for (size_t i = 0; i < want.log_sum_exp.size(); ++i)
    checks.near("log_sum_exp", problem.log_sum_exp[i], want.log_sum_exp[i], ulps, 1);
}

/// q, k, v and y held as bf16: the same results as of their values in float32, y rounded. With and
/// without instructions for products in bf16.
void check_held(Checks& checks, Problem& problem) {
  AttentionArgs p = problem.args;
  const Held q(problem.q.size(), 11), k(problem.k.size(), 12), v(problem.v.size(), 13);
  const Held y(problem.q.size(), 14);
  Buffer want(q.size(), 1), dq(q.size(), 2), dk(k.size(), 3), dv(v.size(), 4);
  HeldResult rounded(q.size());
  float* const sums = problem.log_sum_exp.data();
  for (const bool in_bf16 : {true, false}) {
    p.rounded = in_bf16;
    p.q = q.floats();
    p.k = k.floats();
    p.v = v.floats();
    attention(p, want.data(), sums);
    attention_grad(p, {y.floats(), sums, problem.dy.data(), problem.dq.data(), problem.dk.data(),
                       problem.dv.data()});
    p.q = q.data();
    p.k = k.data();
    p.v = v.data();
    attention(p, rounded.data(), sums);
    attention_grad(p, {y.data(), sums, problem.dy.data(), dq.data(), dk.data(), dv.data()});
    rounded.check(checks, "held y", want.data());
    checks.same("held dq", dq.data(), problem.dq.data(), dq.size());
    checks.same("held dk", dk.data(), problem.dk.data(), dk.size());
    checks.same("held dv", dv.data(), problem.dv.data(), dv.size());
  }
}

void check_threads(Checks& checks, Problem& problem) {
  problem.run(3);
  const std::vector<float> y(problem.y.data(), problem.y.data() + problem.y.size());
  const std::vector<float> dq(problem.dq.data(), problem.dq.data() + y.size());
  const std::vector<float> dk(problem.dk.data(), problem.dk.data() + problem.dk.size());
  problem.run(1);
  checks.same("y, one thread", problem.y.data(), y.data(), y.size());
  checks.same("dq, one thread", problem.dq.data(), dq.data(), dq.size());
  checks.same("dk, one thread", problem.dk.data(), dk.data(), dk.size());
}

/// Sequence `row` of `count` tokens of one problem, moved to token `to` of another: the same bits
/// of what is made of them, `width` values a token.
struct Moved {
  size_t from, to, count;
  void copy(const Buffer& source, size_t width, Buffer& target) const {
    std::copy_n(source.data() + from * width, count * width, target.data() + to * width);
  }
  void expect(Checks& checks, const char* what, const Buffer& got, size_t width,
              const Buffer& want) const {
    checks.same(what, got.data() + to * width, want.data() + from * width, count * width);
  }
};

/// A sequence alone, and the same one after padding, in a batch and in packed segments.
void check_places(Checks& checks, Shape shape, size_t padding, int32_t window) {
  const size_t T = shape.T, wide = T + padding;
  shape.B = 1;
  Problem alone(shape, {});
  alone.see(window, 1 << 20);
  alone.run(2);
  for (const bool packed : {false, true}) {
    Problem batch({3, wide + 5, shape.H, shape.K, shape.E}, {});
    const Moved moved = {0, batch.args.T + padding, T};
    const size_t queries = shape.H * shape.E, keys = shape.K * shape.E;
    moved.copy(alone.q, queries, batch.q);
    moved.copy(alone.dy, queries, batch.dy);
    moved.copy(alone.k, keys, batch.k);
    moved.copy(alone.v, keys, batch.v);
    if (packed) batch.see(1 << 20, static_cast<int32_t>(padding));
    for (size_t t = 0; t < T; ++t) {
      batch.first[moved.to + t] = alone.first[t] + static_cast<int32_t>(padding);
      batch.last[moved.to + t] = alone.last[t] + static_cast<int32_t>(padding);
    }
    for (size_t at = moved.to + T; at < 2 * batch.args.T; ++at)
      batch.first[at] = static_cast<int32_t>(at % batch.args.T);  // they do not see the sequence
    batch.run(2);
    moved.expect(checks, "y elsewhere", batch.y, queries, alone.y);
    moved.expect(checks, "dq elsewhere", batch.dq, queries, alone.dq);
    moved.expect(checks, "dk elsewhere", batch.dk, keys, alone.dk);
    moved.expect(checks, "dv elsewhere", batch.dv, keys, alone.dv);
  }
}

void check_nothing_seen(Checks& checks) {
  Problem problem({2, 3, 2, 1, 5}, {});
  problem.run(1);
  for (const Buffer* zeros : {&problem.y, &problem.dq, &problem.dk, &problem.dv})
    for (size_t i = 0; i < zeros->size(); ++i) checks.that("zeros", (*zeros)[i] == 0);
}

/// Ranges that no causal mask has: every key, other keys in every row, a later sequence that begins
/// earlier.
void check_other_ranges(Checks& checks) {
  Problem all({2, 70, 2, 2, 24}, {});
  std::fill(all.last.begin(), all.last.end(), 69);
  check_values(checks, all);
  Problem mixed({1, 90, 3, 3, 33}, {});
  for (int32_t t = 0; t < 90; ++t) {
    mixed.first[t] = t * 37 % 61;
    mixed.last[t] = t % 7 == 0 ? mixed.first[t] - 1 : std::min(89, mixed.first[t] + t * 13 % 80);
  }
  check_values(checks, mixed);
  check_threads(checks, mixed);
}

void check_all(Checks& checks) {
  const Shape shapes[] = {{1, 1, 1, 1, 1},    {2, 5, 2, 2, 8},     {1, 70, 4, 2, 16},
                          {2, 33, 6, 2, 20},  {1, 150, 2, 1, 33},  {1, 200, 8, 1, 64},
                          {2, 65, 17, 1, 80}, {1, 130, 4, 4, 128}, {1, 300, 3, 1, 40},
                          {1, 66, 2, 1, 96},  {1, 63, 2, 2, 65},   {0, 5, 2, 1, 16},
                          {1, 64, 2, 1, 31},  {1, 127, 1, 1, 63},  {1, 128, 2, 1, 32},
                          {1, 129, 1, 1, 15}, {1, 31, 2, 2, 127},  {1, 32, 1, 1, 129},
                          {1, 17, 2, 1, 9},   {1, 16, 3, 1, 7},    {1, 15, 2, 1, 17}};
  for (const Shape& shape : shapes)
    for (const auto& [window, segment] :
         std::vector<std::pair<int32_t, int32_t>>{{1000, 1000}, {50, 1000}, {1000, 23}, {1, 1000}})
      for (const Features features : {Features{}, Features{2.5f, false}, Features{0, true}}) {
        Problem problem(shape, features);
        problem.see(window, segment);
        check_values(checks, problem);
        check_threads(checks, problem);
        check_held(checks, problem);
      }
  check_other_ranges(checks);
  check_nothing_seen(checks);
  if (!has_attention_bf16()) return;  // in float32, a promise of the forward pass only
  for (const float bad : {INFINITY, -INFINITY, NAN, 3.4e38f})
    for (const auto& [window, segment] :
         std::vector<std::pair<int32_t, int32_t>>{{1000, 1000}, {9, 23}}) {
      Problem problem({2, 150, 4, 2, 40}, {});
      problem.see(window, segment);
      check_not_finite(checks, problem.args, bad, true);
    }
  for (const size_t padding : {1, 30, 77})
    for (const int32_t window : {1000, 70}) {
      check_places(checks, {1, 150, 4, 2, 40}, padding, window);
      check_places(checks, {1, 40, 6, 6, 64}, padding, window);
    }
}

}  // namespace

int main() { return run(check_all); }
