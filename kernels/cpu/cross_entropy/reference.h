#pragma once

#include <cmath>
#include <vector>

#include "cpu/cross_entropy/cross_entropy.h"

namespace llmkit {

/// The formula of cross_entropy.h in double, for a weight given as floats.
struct CrossEntropyReference {
  std::vector<double> losses, dh, dweight, dbias;

  CrossEntropyReference(const CrossEntropyArgs& p, const float* w, const float* dlosses)
      : losses(p.m),
        dh(p.m * p.weight.cols),
        dweight(p.weight.rows * p.weight.cols),
        dbias(p.weight.rows) {
    const size_t words = p.weight.rows, cols = p.weight.cols;
    std::vector<double> logits(words);
    for (size_t r = 0; r < p.m; ++r) {
      if (p.targets[r] < 0) continue;
      double most = -INFINITY, total = 0;
      for (size_t v = 0; v < words; ++v) {
        logits[v] = p.bias == nullptr ? 0 : p.bias[v];
        for (size_t c = 0; c < cols; ++c) logits[v] += double{p.h[r * cols + c]} * w[v * cols + c];
        most = std::fmax(most, logits[v]);
      }
      for (const double logit : logits) total += std::exp(logit - most);
      losses[r] = most + std::log(total) - logits[p.targets[r]];
      for (size_t v = 0; v < words; ++v) {
        const double hit = static_cast<int32_t>(v) == p.targets[r] ? 1 : 0;
        const double d = (std::exp(logits[v] - most) / total - hit) * dlosses[r];
        dbias[v] += d;
        for (size_t c = 0; c < cols; ++c) {
          dh[r * cols + c] += d * w[v * cols + c];
          dweight[v * cols + c] += d * p.h[r * cols + c];
        }
      }
    }
  }
};

}  // namespace llmkit
