#include <algorithm>

#include "cpu/sample/sample.h"
#include "cuda/sample/sample.h"
#include "cuda/testing/testing.h"

// The tokens of kernels/cpu/sample, which has its own tests against the formula.

using namespace llmkit;
using llmkit::cuda::testing::Checks;
using llmkit::cuda::testing::DeviceVector;
using llmkit::cuda::testing::expect;
using llmkit::cuda::testing::stream;

namespace {

/// Rows of logits and how tokens are chosen of them.
struct Batch {
  size_t rows, vocab;
  std::vector<float> logits;
  std::vector<double> uniforms;
  std::vector<std::vector<int32_t>> seen;
  double penalty = 1, temperature = 1, top_p = 1;
  size_t top_k = 0;

  Batch(size_t rows, size_t vocab, float spread, unsigned seed)
      : rows(rows),
        vocab(vocab),
        logits(cuda::testing::random_normal(rows * vocab, seed)),
        seen(rows) {
    std::mt19937 engine(seed);
    std::uniform_real_distribution<double> uniform;
    for (float& logit : logits) logit *= spread;
    for (size_t row = 0; row < rows; ++row) {
      uniforms.push_back(uniform(engine));
      for (size_t i = row; i < vocab; i += 3 + row) seen[row].push_back(static_cast<int32_t>(i));
    }
  }

  std::vector<int32_t> chosen_by_cpu() const {
    std::vector<int32_t> chosen;
    for (size_t row = 0; row < rows; ++row)
      chosen.push_back(static_cast<int32_t>(
          sample({vocab, &logits[row * vocab], seen[row].data(), seen[row].size(), penalty,
                  temperature, top_k, top_p, uniforms[row]})));
    return chosen;
  }

  std::vector<uint8_t> seen_mask() const {
    std::vector<int32_t> places, ids;
    for (size_t row = 0; row < rows; ++row)
      for (const int32_t id : seen[row]) {
        places.push_back(static_cast<int32_t>(row));
        ids.push_back(id);
      }
    DeviceVector<uint8_t> mask(std::vector<uint8_t>(rows * vocab));
    const DeviceVector<int32_t> row_of(places), id_of(ids);
    expect(cuda::mark_seen(row_of.data(), id_of.data(), ids.size(), vocab, mask.data(), stream()),
           "mark_seen");
    return mask.values();
  }

  /// `from_device`: the settings lie there, and the host knows only which kernels they need.
  std::vector<int32_t> chosen_by_device(bool from_device = false) const {
    const DeviceVector<float> values(logits);
    const DeviceVector<double> drawn(uniforms);
    const DeviceVector<uint8_t> mask(seen_mask());
    DeviceVector<int32_t> chosen(rows);
    cuda::SampleArgs args;
    args.rows = rows;
    args.vocab = vocab;
    args.logits = values.data();
    args.seen = penalty == 1 ? nullptr : mask.data();
    args.penalty = penalty;
    args.temperature = temperature;
    args.top_k = top_k;
    args.top_p = top_p;
    args.uniforms = temperature == 0 ? nullptr : drawn.data();
    args.chosen = chosen.data();
    const double cut = static_cast<double>(top_k);
    const DeviceVector<cuda::SampleSettings> settings({{penalty, temperature, cut, top_p}});
    if (from_device) {
      args.settings = settings.data();
      args.penalty = args.top_p = 1;
      args.temperature = temperature == 0 ? 0 : 1;
      args.top_k = top_k > 0 && top_k < vocab ? 1 : 0;
    }
    DeviceVector<uint8_t> workspace(cuda::sample_workspace(args));
    expect(cuda::sample(args, workspace.data(), stream()), "sample");
    return chosen.values();
  }
};

void check_same(Checks& checks, const char* what, const Batch& batch) {
  const std::vector<int32_t> want = batch.chosen_by_cpu();
  for (const bool from_device : {false, true})
    checks.that(what, batch.chosen_by_device(from_device) == want);
}

void check_settings(Checks& checks, size_t rows, size_t vocab, float spread) {
  Batch batch(rows, vocab, spread, static_cast<unsigned>(vocab));
  for (const size_t top_k : {size_t{0}, size_t{1}, size_t{40}, vocab / 2, vocab})
    for (const double top_p : {0.0, 0.3, 0.95, 0.999999, 1.0})
      for (const double temperature : {0.0, 0.7, 30.0})
        for (const double penalty : {1.0, 1.3}) {
          batch.top_k = top_k;
          batch.top_p = top_p;
          batch.temperature = temperature;
          batch.penalty = penalty;
          check_same(checks, "the token of the CPU", batch);
        }
}

/// Many draws from one distribution each.
void check_draws(Checks& checks) {
  for (unsigned seed = 0; seed < 4; ++seed) {
    Batch batch(64, 700, 2, seed);
    batch.temperature = 0.8;
    for (const size_t top_k : {0, 50}) {
      batch.top_k = top_k;
      batch.top_p = 0.9;
      check_same(checks, "a draw", batch);
    }
  }
}

/// Draws at the very numbers where the CPU goes over to the next token: weights must have its bits.
void check_boundaries(Checks& checks) {
  constexpr size_t kRows = 200;
  Batch low(kRows, 2, 1, 1);
  for (size_t row = 0; row < kRows; ++row) {
    low.logits[2 * row] = 0;
    low.logits[2 * row + 1] =
        -std::ldexp(1.0f + static_cast<float>(row % 7) / 7, static_cast<int>(row % 40) - 35);
    low.uniforms[row] = 0;
  }
  Batch high = low;
  high.uniforms.assign(kRows, 1 - 0x1p-53);
  for (int step = 0; step < 60; ++step) {
    Batch middle = low;
    for (size_t row = 0; row < kRows; ++row)
      middle.uniforms[row] = low.uniforms[row] + (high.uniforms[row] - low.uniforms[row]) / 2;
    const std::vector<int32_t> chosen = middle.chosen_by_cpu();
    for (size_t row = 0; row < kRows; ++row)
      (chosen[row] == 0 ? low : high).uniforms[row] = middle.uniforms[row];
  }
  check_same(checks, "before the boundary", low);
  check_same(checks, "at the boundary", high);
}

/// Equal scores: cuts fall among them, and the first ids stay.
void check_equals(Checks& checks, size_t vocab) {
  Batch batch(3, vocab, 1, 5);
  std::fill(batch.logits.begin(), batch.logits.end(), 2.0f);
  for (size_t i = 0; i < vocab; i += 2) batch.logits[vocab + i] = -1;
  batch.logits[2 * vocab + vocab / 2] = 3;
  batch.uniforms = {1 - 0x1p-53, 0.999, 0};
  for (const double top_p : {0.25, 0.5, 1.0})
    for (const size_t top_k : {size_t{0}, size_t{1}, vocab / 2 + 1}) {
      batch.top_p = top_p;
      batch.top_k = top_k;
      check_same(checks, "among equals", batch);
      batch.temperature = batch.temperature == 0 ? 1 : 0;
      check_same(checks, "the first of equals", batch);
    }
}

/// Rows of which nothing, or only one token, can be chosen.
void check_not_finite(Checks& checks, size_t vocab) {
  Batch batch(5, vocab, 1, 6);
  const auto row = [&](size_t index) {
    return batch.logits.begin() + static_cast<long>(index * vocab);
  };
  for (size_t i = 0; i < vocab; ++i) {
    row(0)[static_cast<long>(i)] = i % 2 ? NAN : -INFINITY;
    row(1)[static_cast<long>(i)] = i + 1 < vocab ? -INFINITY : -3.0f;
  }
  row(2)[0] = INFINITY;
  row(3)[static_cast<long>(vocab / 2)] = NAN;
  row(4)[0] = -INFINITY;
  for (const double temperature : {0.0, 1.0})
    for (const size_t top_k : {0, 2}) {
      batch.temperature = temperature;
      batch.top_k = top_k;
      batch.top_p = top_k == 0 ? 1 : 0.5;
      check_same(checks, "not finite", batch);
      const std::vector<int32_t> chosen = batch.chosen_by_device();
      checks.that("nothing finite", chosen[0] == -1 && chosen[2] == -1);
      checks.that("one finite", chosen[1] == static_cast<int32_t>(vocab - 1));
    }
}

/// A row's token does not depend on the batch.
void check_alone(Checks& checks) {
  Batch batch(4, 3000, 3, 8);
  batch.top_p = 0.9;
  const std::vector<int32_t> together = batch.chosen_by_device();
  for (size_t row = 0; row < batch.rows; ++row) {
    Batch alone(1, batch.vocab, 1, 0);
    std::copy_n(batch.logits.begin() + static_cast<long>(row * batch.vocab), batch.vocab,
                alone.logits.begin());
    alone.uniforms = {batch.uniforms[row]};
    alone.top_p = batch.top_p;
    checks.that("a row alone", alone.chosen_by_device()[0] == together[row]);
  }
}

void check_all(Checks& checks) {
  for (const size_t vocab : {1, 2, 7, 255, 256, 257, 2049}) {
    check_settings(checks, 2, vocab, 3);
    check_equals(checks, vocab);
    check_not_finite(checks, vocab);
  }
  check_settings(checks, 1, 5003, 0.1f);
  check_settings(checks, 1, 3001, 400);  // weights down to 0 by way of subnormal numbers
  check_draws(checks);
  check_boundaries(checks);
  check_alone(checks);
  for (const size_t vocab : {128256, 151936}) {
    Batch large(2, vocab, 3, 9);
    large.top_p = 0.95;
    check_same(checks, "a large vocabulary", large);
    large.top_k = 64;
    check_same(checks, "a large vocabulary, top-k", large);
  }
  check_equals(checks, 50257);
}

}  // namespace

int main() { return cuda::testing::run_on_device(check_all); }
