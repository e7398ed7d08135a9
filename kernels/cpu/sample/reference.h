#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cpu/sample/sample.h"

namespace llmkit::reference {

/// The weights of all ids, in plain loops; 0 for those that are cut.
inline std::vector<long double> sample_weights(const SampleArgs& p) {
  const double lowest = -std::numeric_limits<double>::infinity();
  std::vector<double> scores(p.vocab);
  for (size_t i = 0; i < p.vocab; ++i) scores[i] = std::isnan(p.logits[i]) ? lowest : p.logits[i];
  for (size_t i = 0; i < p.seen_count; ++i) {
    double& score = scores[p.seen[i]];
    score = score > 0 ? score / p.penalty : score * p.penalty;
  }
  std::vector<size_t> order(p.vocab);
  for (size_t i = 0; i < p.vocab; ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  const double most = scores[order[0]];
  const size_t last = p.top_k > 0 && p.top_k < p.vocab ? p.top_k - 1 : p.vocab - 1;
  const double smallest = scores[order[last]];
  std::vector<long double> weights(p.vocab, 0);
  long double total = 0, before = 0;
  for (size_t i = 0; i < p.vocab; ++i) {
    if (scores[i] >= smallest) weights[i] = std::exp((scores[i] - most) / p.temperature);
    total += weights[i];
  }
  for (const size_t id : order) {
    const long double weight = weights[id];
    if (p.top_p < 1 && before > 0 && before >= p.top_p * total) weights[id] = 0;
    before += weight;
  }
  return weights;
}

}  // namespace llmkit::reference
