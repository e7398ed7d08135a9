#pragma once

#include <cmath>
#include <vector>

#include "cpu/attention/attention.h"
#include "testing/testing.h"

namespace llmkit {

/// What a value that is not finite may touch of the gradients: the heads of queries [B, T, H] that
/// hold it or see it, and the keys [B, S, K] that any of these sees.
struct TouchedRows {
  std::vector<bool> queries, keys;

  /// The value is in q or dy, in row `row` of [B, T, H].
  static TouchedRows of_query(const AttentionArgs& p, size_t row) {
    TouchedRows touched(p);
    touched.touch(p, row);
    return touched;
  }
  /// The value is in k or v, in row `row` of [B, S, K].
  static TouchedRows of_key(const AttentionArgs& p, size_t row) {
    TouchedRows touched(p);
    const size_t b = row / p.K / p.S, key = row / p.K % p.S, kv = row % p.K;
    for (size_t query = b * p.T * p.H; query < (b + 1) * p.T * p.H; ++query)
      if (query % p.H / (p.H / p.K) == kv && sees(p, query / p.H, key)) touched.touch(p, query);
    return touched;
  }

  /// Rows [n, E] that are touched are NaN, if they must be; the others have the bits of `want`.
  static void check(testing::Checks& checks, const char* what, const std::vector<bool>& touched,
                    const float* got, const float* want, size_t E, bool must) {
    for (size_t row = 0; row < touched.size(); ++row) {
      if (!touched[row]) checks.same(what, got + row * E, want + row * E, E);
      for (size_t e = 0; must && touched[row] && e < E; ++e)
        checks.that(what, std::isnan(got[row * E + e]));
    }
  }

 private:
  explicit TouchedRows(const AttentionArgs& p) : queries(p.B * p.T * p.H), keys(p.B * p.S * p.K) {}

  static bool sees(const AttentionArgs& p, size_t position, size_t key) {
    return p.first[position] <= static_cast<int32_t>(key) &&
           static_cast<int32_t>(key) <= p.last[position];
  }
  void touch(const AttentionArgs& p, size_t query) {
    queries[query] = true;
    const size_t position = query / p.H, b = position / p.T, kv = query % p.H / (p.H / p.K);
    for (size_t key = 0; key < p.S; ++key)
      if (sees(p, position, key)) keys[(b * p.S + key) * p.K + kv] = true;
  }
};

}  // namespace llmkit
