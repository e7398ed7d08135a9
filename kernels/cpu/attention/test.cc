#include <algorithm>

#include "base/parallel.h"
#include "cpu/attention/cached_reference.h"
#include "cpu/attention/kv_cache.h"
#include "cpu/attention/reference.h"
#include "cpu/attention/test_not_finite.h"
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

/// Puts `count` keys into the only row of a cache, with queries that see nothing.
void append_unseen(const AttentionArgs& p, KvCache& cache, const std::vector<float>& k,
                   const std::vector<float>& v, size_t count) {
  const std::vector<float> q(count * p.H * p.E);
  std::vector<float> y(q.size());
  const std::vector<int32_t> first(count), last(count, -1);
  const int32_t start = 0;
  AttentionArgs unseen = p;
  unseen.B = 1;
  unseen.T = unseen.S = count;
  unseen.q = q.data();
  unseen.k = k.data();
  unseen.v = v.data();
  unseen.first = first.data();
  unseen.last = last.data();
  cached_attention(unseen, {&start, nullptr, nullptr, 0}, cache, y.data());
}

/// Each query alone, its keys moved to another place of a cache: the same bits.
void check_alone(Checks& checks, const Problem& problem) {
  const AttentionArgs& p = problem.args;
  Buffer y(problem.q.size(), 5), alone(p.H * p.E, 6);
  attention(p, y.data(), nullptr);
  const size_t row = p.K * p.E, shift = 5;
  for (size_t position = 0; position < p.B * p.T; ++position) {
    const int32_t first = p.first[position], last = p.last[position];
    const size_t count = static_cast<size_t>(last - first) + 1;
    const size_t from = (position / p.T * p.S + static_cast<size_t>(first)) * row;
    // Never to be read: what is before the keys.
    std::vector<float> k(shift * row, NAN), v(shift * row, NAN);
    k.insert(k.end(), p.k.floats() + from, p.k.floats() + from + count * row);
    v.insert(v.end(), p.v.floats() + from, p.v.floats() + from + count * row);
    KvCache cache(1, p.K, {p.E, KvType::kF32});
    append_unseen(p, cache, k, v, shift + count - 1);
    const int32_t key = static_cast<int32_t>(shift + count) - 1, new_first = shift;
    AttentionArgs one = p;
    one.B = one.T = one.S = 1;
    one.q = p.q.from(position * p.H * p.E);
    one.k = k.data() + (shift + count - 1) * row;
    one.v = v.data() + (shift + count - 1) * row;
    one.first = &new_first;
    one.last = &key;
    checks.that("memory", cached_attention(one, {&key, nullptr, nullptr, 0}, cache, alone.data()));
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

/// A sequence in chunks, over a cache of each type and with rotary positions: the bits of attention
/// to all keys at once, as the type rounds them.
void check_cached(Checks& checks, const Problem& problem, size_t half) {
  const AttentionArgs& p = problem.args;
  const Buffer cos(p.T * half, 11), sin(p.T * half, 12);
  for (const KvType type : {KvType::kF32, KvType::kBf16, KvType::kInt8}) {
    const std::vector<float> want = whole_at_once(p, {cos.data(), sin.data(), half}, type);
    for (const size_t chunk : {size_t{1}, size_t{4}, size_t{37}, size_t{200}, p.T})
      for (const size_t threads : {1, 3}) {
        set_thread_count(threads);
        const std::vector<float> got = in_chunks(p, {cos.data(), sin.data(), half}, type, chunk);
        checks.same("a sequence in chunks", got.data(), want.data(), want.size());
      }
  }
}

/// Rows that are chosen again go on by themselves, whatever the others write.
void check_select(Checks& checks, KvType type) {
  const Problem prefix({2, 140, 140, 4, 2, 20}, 1000, {0, false});
  const Problem next({3, 1, 1, 4, 2, 20}, 1000, {0, false});
  const int32_t chosen[] = {1, 1, 0};
  const auto step = [](const Problem& problem, KvCache& cache, int32_t position) {
    AttentionArgs p = problem.args;
    const std::vector<int32_t> first(p.B * p.T, 0), positions(p.B, position);
    std::vector<int32_t> last;
    for (size_t i = 0; i < p.B * p.T; ++i) last.push_back(position + static_cast<int32_t>(i % p.T));
    p.first = first.data();
    p.last = last.data();
    std::vector<float> y(p.B * p.T * p.H * p.E);
    cached_attention(p, {positions.data(), nullptr, nullptr, 0}, cache, y.data());
    return y;
  };
  KvCache cache(2, 2, {20, type});
  step(prefix, cache, 0);
  const size_t before = cache.bytes();
  cache.select(3, chosen);
  checks.that("shared pages count once", cache.bytes() == before);
  const std::vector<float> got = step(next, cache, 140);
  checks.that("a page of its own", cache.bytes() == before / 4 * 5);
  for (size_t row = 0; row < 3; ++row) {
    KvCache alone(2, 2, {20, type});
    step(prefix, alone, 0);
    alone.select(1, chosen + row);
    AttentionArgs& p = const_cast<AttentionArgs&>(next.args);
    const AttentionArgs all = p;
    p.B = 1;
    p.q = all.q.from(row * p.H * p.E);
    p.k = all.k.from(row * p.K * p.E);
    p.v = all.v.from(row * p.K * p.E);
    const std::vector<float> want = step(next, alone, 140);
    p = all;
    checks.same("a chosen row", got.data() + row * want.size(), want.data(), want.size());
  }
}

/// A key that is not finite makes NaN of what sees it, whatever the type; tiny ones are zeros.
void check_extremes(Checks& checks) {
  for (const float bad : {INFINITY, -INFINITY, NAN})
    for (const KvType type : {KvType::kF32, KvType::kBf16, KvType::kInt8}) {
      Problem problem({1, 6, 6, 1, 1, 20}, 1000, {0, false});
      problem.k[2 * 20 + 3] = bad;
      problem.q[3] = 1;
      const std::vector<float> y = in_chunks(problem.args, {nullptr, nullptr, 0}, type, 6);
      checks.that("before", std::isfinite(y[20]));
      if (std::isnan(bad) || type == KvType::kInt8) checks.that("after", std::isnan(y[3 * 20]));
    }
  const std::vector<float> tiny(20, 1e-37f), rounded = rounded_rows(tiny, 20, KvType::kInt8);
  checks.that("tiny", rounded == std::vector<float>(20, 0.0f));
}

void check_caches(Checks& checks) {
  check_cached(checks, Problem({1, 300, 300, 3, 1, 20}, 1000, {0, false}), 10);
  check_cached(checks, Problem({1, 300, 300, 4, 2, 16}, 150, {0, true}), 3);
  check_cached(checks, Problem({1, 150, 150, 17, 1, 33}, 1000, {2.5f, false}), 16);
  check_cached(checks, Problem({1, 131, 131, 2, 2, 1}, 7, {0, false}), 0);
  for (const size_t head_size : {64, 80, 96, 128, 65})
    check_cached(checks, Problem({1, 130, 130, 2, 1, head_size}, 1000, {0, false}), head_size / 2);
  for (const KvType type : {KvType::kF32, KvType::kBf16, KvType::kInt8}) check_select(checks, type);
  check_extremes(checks);
}

void check_all(Checks& checks) {
  const Shape shapes[] = {{1, 1, 1, 1, 1, 1},      {2, 5, 5, 2, 2, 8},     {1, 30, 30, 4, 2, 16},
                          {2, 17, 40, 6, 2, 20},   {1, 1, 130, 4, 1, 64},  {1, 70, 150, 2, 1, 33},
                          {3, 12, 12, 3, 3, 17},   {1, 20, 33, 2, 1, 80},  {1, 17, 17, 3, 1, 96},
                          {1, 15, 40, 2, 2, 128},  {1, 9, 31, 2, 1, 65},   {0, 5, 5, 2, 2, 8},
                          {2, 0, 7, 2, 1, 8},      {1, 8, 127, 2, 1, 7},   {1, 7, 128, 2, 2, 9},
                          {1, 31, 129, 2, 1, 15},  {1, 32, 64, 2, 1, 31},  {1, 63, 65, 1, 1, 63},
                          {1, 64, 64, 2, 1, 32},   {1, 16, 32, 1, 1, 127}, {1, 65, 65, 1, 1, 129},
                          {1, 127, 128, 1, 1, 17}, {1, 129, 129, 2, 1, 16}};
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
  check_caches(checks);
  for (const float bad : {INFINITY, -INFINITY, NAN}) {
    check_not_finite(checks, Problem({2, 100, 130, 2, 1, 20}, 1000, {0, false}).args, bad, false);
    check_not_finite(checks, Problem({1, 90, 90, 4, 2, 33}, 9, {0, true}, 23).args, bad, false);
  }
}

}  // namespace

int main() { return run(check_all); }
