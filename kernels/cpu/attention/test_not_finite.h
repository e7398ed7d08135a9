#pragma once

#include "cpu/attention/touched_reference.h"

namespace llmkit::testing {

struct AttentionResults {
  std::vector<float> y, log_sum_exp, dq, dk, dv;

  AttentionResults(const AttentionArgs& p, const std::vector<float>& dy)
      : y(dy.size()), log_sum_exp(p.B * p.T * p.H), dq(y), dk(p.B * p.S * p.K * p.E), dv(dk) {
    attention(p, y.data(), log_sum_exp.data());
    attention_grad(p, {y.data(), log_sum_exp.data(), dy.data(), dq.data(), dk.data(), dv.data()});
  }
};

/// Puts a value that is not finite (`rounded`: as bf16) in the middle of q, k, v and dy in turn:
/// what has nothing to do with it keeps its bits, the rest is NaN. Exact attention needs no other
/// element of a value, and an infinite key may have a weight of 0.
inline void check_not_finite(Checks& checks, AttentionArgs p, float bad, bool rounded) {
  const auto copy = [](const ConstElements& x, size_t n) {
    return std::vector<float>(x.floats(), x.floats() + n);
  };
  const size_t queries = p.B * p.T * p.H * p.E, keys = p.B * p.S * p.K * p.E;
  const std::vector<float> q = copy(p.q, queries), k = copy(p.k, keys), v = copy(p.v, keys), dy = q;
  const AttentionResults want(p, dy);
  const size_t query = (p.T / 2 + 7) * p.H, key = (p.S - p.T + p.T / 2 + 7) * p.K;
  for (const char* part : {"q", "k", "v", "dy"}) {
    std::vector<float> bad_q = q, bad_k = k, bad_v = v, bad_dy = dy;
    const bool of_q = part == std::string("q"), of_k = part == std::string("k");
    const bool of_v = part == std::string("v"), of_key = of_k || of_v;
    std::vector<float>& changed = of_q ? bad_q : of_k ? bad_k : of_v ? bad_v : bad_dy;
    changed[(of_key ? key : query) * p.E + p.E / 2] = bad;
    p.q = bad_q.data();
    p.k = bad_k.data();
    p.v = bad_v.data();
    const TouchedRows touched =
        of_key ? TouchedRows::of_key(p, key) : TouchedRows::of_query(p, query);
    const AttentionResults got(p, bad_dy);
    const std::vector<bool> none(touched.queries.size());
    const auto check = [&](const char* what, const std::vector<bool>& rows,
                           const std::vector<float>& x, const std::vector<float>& y, bool must) {
      TouchedRows::check(checks, what, rows, x.data(), y.data(), p.E, must);
    };
    const bool must = (rounded || std::isnan(bad)) && (!of_k || std::isnan(bad));
    check("y", part == std::string("dy") ? none : touched.queries, got.y, want.y,
          must && (rounded || !of_v));
    check("dq", touched.queries, got.dq, want.dq, must);
    check("dk", touched.keys, got.dk, want.dk, must);
    check("dv", touched.keys, got.dv, want.dv, must && (rounded || !of_v));
  }
}

}  // namespace llmkit::testing
