#include <algorithm>

#include "base/parallel.h"
#include "cpu/attention/reference.h"
#include "testing/testing.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

struct Shape {
  size_t B, T, S, H, K, E;
};
struct Features {
  float softcap;
  bool slopes;
};

/// Inputs and their visible ranges: causal, ending at the last key, with a window, in packed
/// segments of so many keys.
struct Problem {
  Buffer q, k, v, slopes;
  std::vector<int32_t> first, last;
  AttentionArgs args;

  Problem(Shape s, int32_t window, Features features, int32_t segment = 1 << 20)
      : q(s.B * s.T * s.H * s.E, 1), k(s.B * s.S * s.K * s.E, 2), v(k.size(), 3), slopes(s.H, 4) {
    // As models have them: an error of a score is in proportion to its size.
    for (size_t h = 0; h < s.H; ++h) slopes[h] = std::exp2(-1.0f - static_cast<float>(h % 8));
    const int32_t history = static_cast<int32_t>(s.S) - static_cast<int32_t>(s.T);
    for (size_t i = 0; i < s.B * s.T; ++i) {
      last.push_back(history + static_cast<int32_t>(i % s.T));
      first.push_back(std::max(last.back() / segment * segment, last.back() - window + 1));
    }
    args = {s.B,         s.T,
            s.S,         s.H,
            s.K,         s.E,
            q.data(),    k.data(),
            v.data(),    first.data(),
            last.data(), features.slopes ? slopes.data() : nullptr,
            0.3f,        features.softcap};
  }
};

void near_all(Checks& checks, const char* what, const Buffer& got, const std::vector<double>& want,
              double ulps, double largest = 0) {
  for (const double value : want) largest = std::fmax(largest, std::fabs(value));
  for (size_t i = 0; i < want.size(); ++i) checks.near(what, got[i], want[i], ulps, largest);
}

struct Results {
  Buffer y, log_sum_exp, dq, dk, dv;
  explicit Results(const AttentionArgs& p)
      : y(p.B * p.T * p.H * p.E, 5),
        log_sum_exp(p.B * p.T * p.H, 6),
        dq(y.size(), 7),
        dk(p.B * p.S * p.K * p.E, 8),
        dv(dk.size(), 9) {}

  void fill(const AttentionArgs& p, const float* dy) {
    attention(p, y.data(), log_sum_exp.data());
    attention_grad(p, {y.data(), log_sum_exp.data(), dy, dq.data(), dk.data(), dv.data()});
  }
};

void check(Checks& checks, const Problem& problem) {
  const AttentionArgs& p = problem.args;
  const Buffer dy(problem.q.size(), 10);
  Results got(p);
  set_thread_count(3);
  got.fill(p, dy.data());
  const AttentionReference want(p, dy.data());
  // Scores are sums of E products; their errors go through exp into sums of S terms.
  const double ulps = ulps_of(p.E) + ulps_of(p.S * p.H / p.K);
  near_all(checks, "y", got.y, want.y, ulps);
  near_all(checks, "log_sum_exp", got.log_sum_exp, want.log_sum_exp, ulps);
  near_all(checks, "dq", got.dq, want.dq, 4 * ulps, want.largest_term);
  near_all(checks, "dk", got.dk, want.dk, 4 * ulps, want.largest_term);
  near_all(checks, "dv", got.dv, want.dv, 4 * ulps);

  Results again(p);
  set_thread_count(1);
  again.fill(p, dy.data());
  checks.same("y, one thread", again.y.data(), got.y.data(), got.y.size());
  checks.same("dq, one thread", again.dq.data(), got.dq.data(), got.dq.size());
  checks.same("dk, one thread", again.dk.data(), got.dk.data(), got.dk.size());
  checks.same("dv, one thread", again.dv.data(), got.dv.data(), got.dv.size());
}

/// Each query alone, its keys moved to another place of a larger store: the same bits.
void check_alone(Checks& checks, const Problem& problem) {
  const AttentionArgs& p = problem.args;
  Buffer y(problem.q.size(), 5), alone(p.H * p.E, 6);
  attention(p, y.data(), nullptr);
  const size_t row = p.K * p.E, shift = 5, capacity = p.S + 9;
  for (size_t position = 0; position < p.B * p.T; ++position) {
    std::vector<float> k(capacity * row, NAN), v(capacity * row, NAN);  // never to be read
    const int32_t first = p.first[position], last = p.last[position];
    const size_t from = (position / p.T * p.S + first) * row, size = (last - first + 1) * row;
    std::copy_n(p.k + from, size, k.data() + shift * row);
    std::copy_n(p.v + from, size, v.data() + shift * row);
    const int32_t new_first = shift, new_last = static_cast<int32_t>(shift) + last - first;
    AttentionArgs one = p;
    one.B = one.T = 1;
    one.S = capacity;
    one.q = p.q + position * p.H * p.E;
    one.k = k.data();
    one.v = v.data();
    one.first = &new_first;
    one.last = &new_last;
    attention(one, alone.data(), nullptr);
    checks.same("a query alone", alone.data(), y.data() + position * p.H * p.E, p.H * p.E);
  }
}

void check_nothing_seen(Checks& checks) {
  Problem problem({1, 3, 4, 2, 1, 5}, 100, {0, false});
  problem.first[1] = 0;
  problem.last[1] = -1;
  check(checks, problem);
  Buffer y(problem.q.size(), 5);
  attention(problem.args, y.data(), nullptr);
  for (size_t i = 10; i < 20; ++i) checks.that("zeros", y[i] == 0);
}

/// Sequences of more than a block of keys, whose blocks begin and end at other keys in every row.
void check_blocks(Checks& checks) {
  const Shape shape = {1, 290, 290, 2, 1, 20}, cached = {1, 33, 420, 3, 1, 16};
  for (const auto& [window, segment] : std::vector<std::pair<int32_t, int32_t>>{
           {1000, 1000}, {150, 1000}, {257, 1000}, {1000, 23}, {1000, 150}, {129, 200}}) {
    const Problem problem(shape, window, {0, true}, segment);
    check(checks, problem);
    check_alone(checks, problem);
    check_alone(checks, Problem(cached, window, {0, false}, segment));
  }
  for (const Features features : {Features{0, false}, Features{2.5f, true}})
    for (const int32_t window : {1000, 300}) {
      check(checks, Problem({2, 1, 700, 14, 2, 40}, window, features));
      check(checks, Problem({1, 3, 290, 17, 1, 7}, window, features));
    }
}

void check_all(Checks& checks) {
  const Shape shapes[] = {{1, 1, 1, 1, 1, 1},    {2, 5, 5, 2, 2, 8},    {1, 30, 30, 4, 2, 16},
                          {2, 17, 40, 6, 2, 20}, {1, 1, 130, 4, 1, 64}, {1, 70, 150, 2, 1, 33},
                          {3, 12, 12, 3, 3, 17}};
  for (const Shape& shape : shapes)
    for (const int32_t window : {1000, 7, 1})
      for (const Features features :
           {Features{0, false}, Features{2.5f, false}, Features{0, true}}) {
        const Problem problem(shape, window, features);
        check(checks, problem);
        check_alone(checks, problem);
      }
  check_nothing_seen(checks);
  check_blocks(checks);
}

}  // namespace

int main() { return run(check_all); }
