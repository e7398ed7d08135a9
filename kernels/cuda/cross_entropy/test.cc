#include <cmath>
#include <optional>

#include "cpu/cross_entropy/reference.h"
#include "cpu/weight/reference.h"
#include "cuda/cross_entropy/cross_entropy.h"
#include "cuda/packed/test_weight.h"
#include "cuda/testing/repeat.h"
#include "cuda/testing/testing.h"
#include "cuda/weight/testing.h"

using namespace llmkit;
using namespace llmkit::cuda::testing;

namespace {

using Values = std::vector<float>;

/// A projection on the device, its values on the host, and how exact its products are.
struct Projection {
  cuda::Head head;
  Values values;    // [words, cols]
  double ulps = 0;  // roundings besides those of float32, in units of epsilon
  float h_scale = 0.3f;
};

/// What a call is given, on the host.
struct Task {
  size_t m;
  Values h, bias, dlosses;
  std::vector<int32_t> targets;

  /// skip: every how many rows one has no target; 0: none.
  Task(const Projection& projection, size_t m, size_t skip)
      : m(m),
        h(random_normal(m * projection.head.cols(), 11)),
        bias(random_normal(projection.head.words(), 12)),
        dlosses(random_normal(m, 13)),
        targets(m) {
    for (float& value : h) value *= projection.h_scale;
    for (size_t i = 0; i < m; ++i)
      targets[i] = skip > 0 && i % skip == 0
                       ? -1
                       : static_cast<int32_t>((i * 37 + 1) % projection.head.words());
  }

  Task row(size_t i, size_t cols) const {
    Task one = *this;
    one.m = 1;
    one.h.assign(h.begin() + static_cast<long>(i * cols),
                 h.begin() + static_cast<long>((i + 1) * cols));
    one.targets = {targets[i]};
    one.dlosses = {dlosses[i]};
    return one;
  }
};

struct Results {
  Values losses, log_sum_exp, dh, dweight, dbias;
};

/// Both calls on the device; the gradient of the weight only where that is trained.
Results compute(cuda::Head head, const Task& task, bool trained, size_t most_logits,
                cuda::IdReport* report = nullptr) {
  const DeviceVector<float> h(task.h), bias(task.bias), dlosses(task.dlosses);
  const DeviceVector<int32_t> targets(task.targets);
  DeviceVector<float> losses(task.m), log_sum_exp(task.m), dh(task.h.size());
  DeviceVector<float> dweight(trained ? head.words() * head.cols() : 0), dbias(head.words());
  head.bias = bias.data();
  cuda::CrossEntropyArgs args;
  args.m = task.m;
  args.h = h.data();
  args.head = head;
  args.targets = targets.data();
  args.most_logits = most_logits;
  args.report = report;
  DeviceVector<char> workspace(cuda::cross_entropy_workspace(args));
  expect(cuda::cross_entropy(args, losses.data(), log_sum_exp.data(), workspace.data(), stream()),
         "cross_entropy");
  const cuda::CrossEntropyGradArgs grad = {log_sum_exp.data(), dlosses.data(), dh.data(),
                                           trained ? dweight.data() : nullptr, dbias.data()};
  DeviceVector<char> more(cuda::cross_entropy_grad_workspace(args, grad));
  expect(cuda::cross_entropy_grad(args, grad, more.data(), stream()), "cross_entropy_grad");
  return {losses.values(), log_sum_exp.values(), dh.values(), dweight.values(), dbias.values()};
}

void near_all(Checks& checks, const char* what, const Values& got, const std::vector<double>& want,
              double ulps) {
  double largest = 0;
  for (const double value : want) largest = std::fmax(largest, std::fabs(value));
  for (size_t i = 0; i < want.size(); ++i) checks.near(what, got[i], want[i], ulps, largest);
}

/// Against the formula in double.
void check_values(Checks& checks, const Projection& projection, const Task& task, bool trained,
                  const Results& got) {
  const size_t words = projection.head.words(), cols = projection.head.cols();
  CrossEntropyArgs args = {};
  args.m = task.m;
  args.h = task.h.data();
  args.weight.rows = words;
  args.weight.cols = cols;
  args.bias = task.bias.data();
  args.targets = task.targets.data();
  const CrossEntropyReference want(args, projection.values.data(), task.dlosses.data());
  const double ulps = ulps_of(cols) + ulps_of(words) + projection.ulps;
  near_all(checks, "losses", got.losses, want.losses, ulps);
  near_all(checks, "dh", got.dh, want.dh, ulps + ulps_of(words));
  near_all(checks, "dbias", got.dbias, want.dbias, ulps + ulps_of(task.m));
  if (trained) near_all(checks, "dweight", got.dweight, want.dweight, ulps + ulps_of(task.m));
  for (size_t i = 0; i < task.m; ++i)
    if (task.targets[i] < 0)
      checks.that("no target", got.losses[i] == 0 && got.log_sum_exp[i] == 0);
}

void check(Checks& checks, const Projection& projection, bool trained, size_t m, size_t skip) {
  const size_t cols = projection.head.cols();
  const Task task(projection, m, skip);
  const size_t whole = m * projection.head.words();
  const Results got = compute(projection.head, task, trained, whole);
  check_values(checks, projection, task, trained, got);
  // In passes of 64 rows: the same rows, another order of what is summed over them.
  const Results passes = compute(projection.head, task, trained, 1);
  checks.that("losses in passes", same_bytes(passes.losses, got.losses));
  checks.that("dh in passes", same_bytes(passes.dh, got.dh));
  checks.that("dbias in passes", same_bytes(passes.dbias, got.dbias));
  check_values(checks, projection, task, trained, passes);
  for (size_t i = 0; i < m; i += 7) {
    const Results alone = compute(projection.head, task.row(i, cols), trained, whole);
    checks.that("a loss alone", alone.losses[0] == got.losses[i]);
    checks.same("dh alone", alone.dh.data(), &got.dh[i * cols], cols);
  }
}

Values values_of(const WeightView& view) {
  Values values(view.rows * view.cols);
  for (size_t i = 0; i < values.size(); ++i) values[i] = decode_reference(view, i);
  return values;
}

/// Roundings to bf16, 2^-9 each, in units of epsilon: of h and the weight in the logits, which are
/// about 1 in size, and of the gradient of the logits and the weight or h in dh and dweight; two to
/// spare.
constexpr double kBf16Ulps = 6 * 16384;

void check_stored(Checks& checks, const WeightCase& c, size_t m, size_t skip) {
  const RandomWeight random(c);
  const UploadedWeight weight(random.view);
  Projection projection;
  projection.head.weight = weight.view();
  projection.values = values_of(random.view);
  const bool trained = c.format == WeightFormat::kF32;
  check(checks, projection, trained, m, skip);
  if (!trained) return;
  projection.head.rounded = true;
  projection.ulps = kBf16Ulps;
  check(checks, projection, true, m, skip);
}

void check_packed(Checks& checks, const WeightCase& c, size_t m, size_t skip) {
  const RandomWeight random(c);
  const DeviceWeight weight(random.view);
  Projection projection;
  projection.head.weight.rows = c.rows;
  projection.head.weight.cols = c.cols;
  projection.head.packed = &weight.weight();
  projection.values = values_of(random.view);
  projection.ulps = kBf16Ulps;
  projection.h_scale = 0.02f;
  check(checks, projection, false, m, skip);
}

/// Logits far apart, and rows that cannot be: only their own row is lost.
void check_extremes(Checks& checks) {
  constexpr size_t kWords = 600;
  Values values(kWords);
  for (size_t i = 0; i < kWords; ++i) values[i] = static_cast<float>(i) - 300;
  const DeviceVector<float> weight(values);
  Projection projection;
  projection.head.weight = dense_view(weight.data(), kWords, 1);
  Task task(projection, 5, 0);
  task.h = {1, -1e30f, NAN, 1e-30f, 1};
  task.targets = {599, 0, 5, 7, static_cast<int32_t>(kWords)};
  std::fill(task.bias.begin(), task.bias.end(), 0.0f);
  const TestReport report;
  const Results got = compute(projection.head, task, false, kWords * 5, report.get());
  checks.that("reported", report.says(static_cast<int32_t>(kWords), kWords));
  checks.near("the largest", got.losses[0], std::log(1 / (1 - std::exp(-1.0))), 4, 300);
  checks.that("the only one", got.losses[1] == 0);
  checks.that("not a number", std::isnan(got.losses[2]));
  checks.near("all alike", got.losses[3], std::log(600.0), 64);
  checks.that("no such word", std::isnan(got.losses[4]));
  checks.that("nothing to add up",
              compute(projection.head, Task(projection, 0, 0), false, 1).dbias == Values(kWords));
}

/// Losses and gradients in one pass and in several: any run's bits.
void check_all_runs(Checks& checks) {
  const RandomWeight random({WeightFormat::kF32, 1100, 64, 0, false, false});
  const UploadedWeight weight(random.view);
  Projection projection;
  projection.head.weight = weight.view();
  const Task task(projection, 150, 3);
  for (const bool rounded : {false, true})
    for (const size_t most_logits : {size_t{1}, 150 * projection.head.words()}) {
      projection.head.rounded = rounded;
      check_runs(checks, "cross entropy of any run", [&] {
        const Results r = compute(projection.head, task, true, most_logits);
        return std::vector<Values>{r.losses, r.log_sum_exp, r.dh, r.dweight, r.dbias};
      });
    }
}

void check_all(Checks& checks) {
  using F = WeightFormat;
  for (const WeightCase& c :
       {WeightCase{F::kF32, 5, 7, 0, false, false}, WeightCase{F::kF32, 1100, 33, 0, false, false},
        WeightCase{F::kBf16, 512, 20, 0, false, false},
        WeightCase{F::kNf4, 700, 64, 64, true, false}})
    for (const size_t m : {1, 20}) check_stored(checks, c, m, m == 1 ? 0 : 3);
  check_stored(checks, {F::kF32, 3001, 3, 0, false, false}, 150, 1);  // no row has a target
  check_stored(checks, {F::kF32, 3001, 3, 0, false, false}, 150, 3);
  for (const WeightCase& c : {WeightCase{F::kInt4, 2500, 64, 32, false, false},
                              WeightCase{F::kNf4, 37, 128, 64, true, false},
                              WeightCase{F::kBf16, 530, 20, 0, false, false}})
    for (const size_t m : {1, 20, 70}) check_packed(checks, c, m, m == 20 ? 0 : 3);
  check_extremes(checks);
  check_all_runs(checks);
}

}  // namespace

int main() { return run_on_device(check_all); }
