#pragma once

#include <cmath>
#include <vector>

#include "cpu/attention/attention.h"

namespace llmkit {

/// The formula of attention.h and its gradient in plain double loops. dy may be null.
struct AttentionReference {
  std::vector<double> y, log_sum_exp, dq, dk, dv;
  /// What a relative error of 1 in every weight and in every score's gradient would make.
  std::vector<double> y_error, dq_error, dk_error, dv_error;
  /// The largest term of a score's gradient: they cancel to zero where one key is seen.
  double largest_term = 0;

  AttentionReference(const AttentionArgs& args, const float* dy)
      : y(args.B * args.T * args.H * args.E),
        log_sum_exp(args.B * args.T * args.H),
        dq(y.size()),
        dk(args.B * args.S * args.K * args.E),
        dv(dk.size()),
        y_error(y.size()),
        dq_error(y.size()),
        dk_error(dk.size()),
        dv_error(dk.size()),
        p(args) {
    for (size_t position = 0; position < p.B * p.T; ++position)
      for (size_t head = 0; head < p.H; ++head) query(position, head, dy);
  }

 private:
  size_t key_at(size_t position, size_t head, int32_t key) const {
    return ((position / p.T * p.S + key) * p.K + head / (p.H / p.K)) * p.E;
  }

  void query(size_t position, size_t head, const float* dy) {
    const int32_t first = p.first[position], last = p.last[position];
    if (last < first) return;
    const size_t at = (position * p.H + head) * p.E;
    std::vector<double> weights, bends;
    double most = -INFINITY, total = 0;
    for (int32_t j = first; j <= last; ++j) {
      double s = 0;
      for (size_t e = 0; e < p.E; ++e)
        s += double{p.q.floats()[at + e]} * p.k.floats()[key_at(position, head, j) + e];
      s *= p.scale;
      const double t = p.softcap > 0 ? std::tanh(s / p.softcap) : 0;
      if (p.softcap > 0) s = p.softcap * t;
      if (p.slopes != nullptr) s += double{p.slopes[head]} * (j - last);
      weights.push_back(s);
      bends.push_back(1 - t * t);
      most = std::fmax(most, s);
    }
    for (double& w : weights) total += w = std::exp(w - most);
    for (double& w : weights) w /= total;
    log_sum_exp[position * p.H + head] = most + std::log(total);
    for (int32_t j = first; j <= last; ++j)
      for (size_t e = 0; e < p.E; ++e) {
        const double term = weights[j - first] * p.v.floats()[key_at(position, head, j) + e];
        y[at + e] += term;
        y_error[at + e] += std::fabs(term);
      }
    if (dy != nullptr) gradient(position, head, dy, weights, bends);
  }

  void gradient(size_t position, size_t head, const float* dy, const std::vector<double>& weights,
                const std::vector<double>& bends) {
    const size_t at = (position * p.H + head) * p.E;
    double along = 0, along_error = 0;
    for (size_t e = 0; e < p.E; ++e) {
      along += y[at + e] * dy[at + e];
      along_error += y_error[at + e] * std::fabs(dy[at + e]);
    }
    for (size_t i = 0; i < weights.size(); ++i) {
      const size_t key = key_at(position, head, p.first[position] + static_cast<int32_t>(i));
      double dweight = 0;
      for (size_t e = 0; e < p.E; ++e) dweight += double{dy[at + e]} * p.v.floats()[key + e];
      largest_term =
          std::fmax(largest_term, (std::fabs(dweight) + std::fabs(along)) * std::fabs(p.scale));
      const double ds = weights[i] * (dweight - along) * bends[i] * p.scale;
      const double ds_error = std::fabs(ds) + weights[i] * along_error * std::fabs(p.scale);
      for (size_t e = 0; e < p.E; ++e) {
        dq[at + e] += ds * p.k.floats()[key + e];
        dk[key + e] += ds * p.q.floats()[at + e];
        dv[key + e] += weights[i] * dy[at + e];
        dq_error[at + e] += ds_error * std::fabs(p.k.floats()[key + e]);
        dk_error[key + e] += ds_error * std::fabs(p.q.floats()[at + e]);
        dv_error[key + e] += weights[i] * std::fabs(dy[at + e]);
      }
    }
  }

  const AttentionArgs& p;
};

}  // namespace llmkit
