#include <cstdlib>

#include "cuda/attention/test_groups.h"
#include "cuda/attention/test_held.h"
#include "cuda/attention/test_maps.h"
#include "cuda/attention/test_not_finite.h"
#include "cuda/testing/repeat.h"

using namespace llmkit::cuda::testing;
namespace gpu = llmkit::cuda;
using gpu::KvType;

namespace {

/// Roundings to bf16 in units of float32's.
constexpr double kBf16 = 65536;

/// Against the formula in double. Rounded, products of a head's values have that many errors of
/// 2^-9 each, in proportion to the root of their sum: the reference has rounded inputs, so that
/// only the weights differ, each by half a unit of bf16.
void check_forward(Checks& checks, const Shape& shape, Features features, Seen seen) {
  Problem problem(shape, features, seen);
  const double ulps = ulps_of(shape.E) + ulps_of(shape.S * shape.H / shape.K);
  for (const bool with_bf16 : {false, true}) {
    if (with_bf16) {
      problem.q = rounded(problem.q);
      problem.k = rounded(problem.k);
      problem.v = rounded(problem.v);
    }
    const llmkit::AttentionArgs host = problem.host();
    const llmkit::AttentionReference want(host, nullptr);
    const DeviceProblem device(problem, with_bf16);
    const Forward got = attend(device.args);
    const double more = with_bf16 ? kBf16 / 2 : 0;
    near_all(checks, with_bf16 ? "y, rounded" : "y", got.y, want.y, ulps + more);
    near_all(checks, "log_sum_exp", got.log_sum_exp, want.log_sum_exp, 4 * ulps);
  }
}

/// The gradient against the formula in double. Rounded, the weights and the scores' gradients have
/// errors of half a unit of bf16 each, and largest_term tells how large these gradients are.
void check_gradient(Checks& checks, const Shape& shape, Features features, Seen seen) {
  Problem problem(shape, features, seen);
  const double ulps = 4 * (ulps_of(shape.E) + ulps_of(shape.S * shape.H / shape.K));
  for (const bool with_bf16 : {false, true}) {
    if (with_bf16)
      for (std::vector<float>* x : {&problem.q, &problem.k, &problem.v, &problem.dy})
        *x = rounded(*x);
    const llmkit::AttentionReference want(problem.host(), problem.dy.data());
    const DeviceProblem device(problem, with_bf16);
    const Gradients got = gradients_of(device, attend(device.args));
    const double limit = ulps + (with_bf16 ? kBf16 : 0), term = want.largest_term;
    near_all(checks, "dq", got.dq, want.dq, limit, term);
    near_all(checks, "dk", got.dk, want.dk, limit, term);
    near_all(checks, "dv", got.dv, want.dv, limit);
  }
}

/// Rows [from, to) of a problem's only sequence, as if it had ended there, in a batch beside others
/// and padded: the same bits.
void check_batches(Checks& checks, const Shape& shape, Features features, Seen seen) {
  Problem alone(shape, features, seen);
  const size_t queries = shape.T * shape.H * shape.E, keys = shape.S * shape.K * shape.E;
  const size_t padding = 5;
  Shape wide = shape;
  wide.B = 3;
  wide.T += padding;
  wide.S += padding;
  Problem batch(wide, features, seen);
  const size_t row = wide.T * wide.H * wide.E, key_row = wide.S * wide.K * wide.E;
  std::copy(alone.q.begin(), alone.q.end(), batch.q.begin() + row);
  std::copy(alone.k.begin(), alone.k.end(), batch.k.begin() + key_row);
  std::copy(alone.v.begin(), alone.v.end(), batch.v.begin() + key_row);
  std::copy(alone.first.begin(), alone.first.end(), batch.first.begin() + wide.T);
  std::copy(alone.last.begin(), alone.last.end(), batch.last.begin() + wide.T);
  for (size_t t = shape.T; t < wide.T; ++t) batch.last[wide.T + t] = -1;
  for (size_t i = 0; i < padding * shape.K * shape.E; ++i) batch.k[key_row + keys + i] = NAN;
  for (const bool rounded : {false, true}) {
    const DeviceProblem one(alone, rounded), three(batch, rounded);
    const Forward want = attend(one.args), got = attend(three.args);
    checks.same("a sequence in a batch", got.y.data() + row, want.y.data(), queries);
    checks.same("its sums", got.log_sum_exp.data() + wide.T * shape.H, want.log_sum_exp.data(),
                shape.T * shape.H);
    for (size_t i = queries; i < row; ++i) checks.that("padding sees nothing", got.y[row + i] == 0);
  }
}

/// Packed segments: each has the bits of the sequence alone.
void check_segments(Checks& checks, const Shape& shape, Features features, Seen seen) {
  const Problem packed(shape, features, seen);
  for (const bool rounded : {false, true}) {
    const DeviceProblem device(packed, rounded);
    const Forward got = attend(device.args);
    for (size_t from = 0; from < shape.T; from += seen.segment) {
      const size_t count = std::min<size_t>(seen.segment, shape.T - from);
      const Shape one = {1, count, count, shape.H, shape.K, shape.E};
      Problem alone(one, features, {seen.window});
      const size_t q = from * shape.H * shape.E, k = from * shape.K * shape.E;
      std::copy_n(packed.q.begin() + q, alone.q.size(), alone.q.begin());
      std::copy_n(packed.k.begin() + k, alone.k.size(), alone.k.begin());
      std::copy_n(packed.v.begin() + k, alone.v.size(), alone.v.begin());
      const DeviceProblem by_itself(alone, rounded);
      const Forward want = attend(by_itself.args);
      checks.same("a packed segment", got.y.data() + q, want.y.data(), want.y.size());
    }
  }
}

/// A sequence in chunks over a cache of each type: the bits of attention to all keys at once.
void check_cached(Checks& checks, const Shape& shape, Features features, Seen seen, size_t half) {
  const Problem problem(shape, features, seen);
  const Turns turns = {random_normal(shape.T * half, 11), random_normal(shape.T * half, 12), half};
  for (const bool rounded : {false, true})
    for (const KvType type : {KvType::kF32, KvType::kBf16, KvType::kInt8}) {
      const std::vector<float> want = at_once(problem, rounded, type, turns);
      for (const size_t chunk : {size_t{7}, size_t{90}, shape.T}) {
        const std::vector<float> got = in_chunks(problem, rounded, type, chunk, turns);
        checks.same("a sequence in chunks", got.data(), want.data(), want.size());
      }
    }
}

/// One step of a cache whose rows are all at `position`, which sees all that they hold; `alone`:
/// the host takes no part.
std::vector<float> next_step(gpu::KvCache& cache, Problem& problem, bool rounded, int32_t position,
                             bool alone = false) {
  const Shape& s = problem.shape;
  for (size_t i = 0; i < s.B * s.T; ++i) {
    problem.first[i] = 0;
    problem.last[i] = position + static_cast<int32_t>(i % s.T);
  }
  const DeviceProblem device(problem, rounded);
  const std::vector<int32_t> positions(s.B, position);
  if (alone) return step_by_itself(cache, device.args, positions, position + s.T);
  return step(cache, device.args, positions, nullptr, nullptr, 0, 0, 0);
}

/// Rows that are chosen again share their pages, and go on by themselves whatever the others write;
/// so do those of a step that the host takes no part in.
void check_select(Checks& checks, bool rounded, KvType type, bool by_itself) {
  Problem prefix({2, 80, 80, 4, 2, 20}, {}, {}), next({3, 1, 1, 4, 2, 20}, {}, {});
  const std::vector<int32_t> chosen = {1, 1, 0};
  TestMemory memory;
  gpu::KvCache cache(2, 2, {20, type}, memory.functions());
  next_step(cache, prefix, rounded, 0);
  const size_t before = cache.bytes();
  cache.select(3, chosen.data());
  checks.that("shared pages count once", cache.bytes() == before);
  const std::vector<float> got = next_step(cache, next, rounded, 80, by_itself);
  checks.that("a page of its own", cache.bytes() == before / 4 * 5);
  for (size_t row = 0; row < 3; ++row) {
    gpu::KvCache alone(2, 2, {20, type}, memory.functions());
    next_step(alone, prefix, rounded, 0);
    alone.select(1, &chosen[row]);
    Problem one({1, 1, 1, 4, 2, 20}, {}, {});
    std::copy_n(next.q.begin() + row * 80, 80, one.q.begin());
    std::copy_n(next.k.begin() + row * 40, 40, one.k.begin());
    std::copy_n(next.v.begin() + row * 40, 40, one.v.begin());
    const std::vector<float> want = next_step(alone, one, rounded, 80);
    checks.same("a chosen row", got.data() + row * want.size(), want.data(), want.size());
  }
}

/// Attention, its gradient, and steps over a cache whose keys are split among blocks: any run's
/// bits.
void check_all_runs(Checks& checks) {
  const Problem problem({2, 150, 150, 4, 2, 64}, {}, {}), sequence({1, 400, 400, 4, 2, 64}, {}, {});
  for (const bool rounded : {false, true}) {
    const DeviceProblem device(problem, rounded);
    check_runs(checks, "attention of any run", [&] {
      const Forward y = attend(device.args);
      const Gradients grad = gradients_of(device, y);
      return std::vector<std::vector<float>>{y.y, y.log_sum_exp, grad.dq, grad.dk, grad.dv};
    });
    check_runs(checks, "cached attention of any run", [&] {
      TestMemory memory;
      gpu::KvCache cache(1, 2, {64, KvType::kBf16}, memory.functions());
      Problem prompt = sequence, next({1, 1, 1, 4, 2, 64}, {}, {});
      return std::vector<std::vector<float>>{next_step(cache, prompt, rounded, 0),
                                             next_step(cache, next, rounded, 400)};
    });
  }
}

void check_all(Checks& checks) {
  check_maps(checks);
  const Shape shapes[] = {{1, 1, 1, 1, 1, 1},    {2, 5, 5, 2, 2, 8},    {1, 30, 30, 4, 2, 16},
                          {2, 17, 40, 6, 2, 20}, {1, 1, 130, 4, 1, 64}, {1, 70, 150, 2, 1, 33}};
  for (const Shape& shape : shapes)
    for (const int32_t window : {1000, 7, 1})
      for (const Features features :
           {Features{}, Features{2.5f, false}, Features{0, true, -0.2f}}) {
        check_forward(checks, shape, features, {window});
        check_gradient(checks, shape, features, {window});
        check_held(checks, shape, features, {window});
      }
  check_held(checks, {1, 70, 70, 2, 1, 131}, {}, {});
  check_held(checks, {1, 70, 70, 3, 1, 128}, {}, {40});
  check_held(checks, {1, 150, 150, 2, 1, 24}, {}, {1000, 23});
  check_forward(checks, {1, 150, 150, 2, 2, 80}, {}, {});
  check_forward(checks, {1, 70, 70, 4, 2, 96}, {}, {});
  check_forward(checks, {1, 70, 70, 3, 1, 128}, {}, {40});
  check_forward(checks, {1, 70, 70, 1, 1, 131}, {1.5f, true}, {});
  check_forward(checks, {1, 2, 300, 4, 1, 256}, {}, {});
  check_forward(checks, {2, 1, 400, 33, 1, 12}, {}, {129});
  check_forward(checks, {1, 150, 150, 2, 1, 24}, {}, {1000, 23});
  check_gradient(checks, {1, 150, 150, 2, 1, 80}, {}, {});
  check_gradient(checks, {1, 70, 70, 4, 2, 96}, {}, {});
  check_gradient(checks, {1, 70, 70, 3, 1, 128}, {}, {40});
  check_gradient(checks, {1, 150, 150, 2, 1, 64}, {}, {1000, 23});
  check_gradient(checks, {2, 130, 200, 2, 2, 128}, {2.5f, true}, {});
  check_gradient(checks, {1, 70, 70, 2, 1, 131}, {1.5f, true}, {});
  check_gradient(checks, {2, 66, 130, 2, 2, 256}, {}, {});
  check_gradient(checks, {1, 150, 150, 2, 1, 24}, {}, {1000, 23});
  check_batches(checks, {1, 70, 70, 4, 2, 20}, {}, {});
  check_batches(checks, {1, 1, 131, 3, 1, 33}, {0, true}, {100});
  check_batches(checks, {1, 40, 200, 2, 2, 72}, {2.5f, false}, {70});
  check_segments(checks, {1, 200, 200, 2, 1, 20}, {}, {1000, 23});
  check_segments(checks, {1, 200, 200, 2, 2, 20}, {0, true}, {9, 90});
  check_cached(checks, {1, 200, 200, 3, 1, 20}, {}, {}, 10);
  check_cached(checks, {1, 140, 140, 4, 2, 16}, {0, true}, {50}, 3);
  check_cached(checks, {1, 131, 131, 4, 2, 96}, {}, {}, 5);
  check_cached(checks, {1, 131, 131, 17, 1, 33}, {2.5f, false}, {}, 16);
  check_cached(checks, {1, 131, 131, 2, 2, 1}, {}, {7}, 0);
  check_select(checks, false, KvType::kF32, false);
  check_select(checks, true, KvType::kBf16, true);
  check_select(checks, true, KvType::kInt8, false);
  check_batches(checks, {1, 140, 140, 2, 1, 64}, {}, {});
  check_cached(checks, {1, 150, 150, 2, 1, 64}, {}, {}, 10);
  check_cached(checks, {1, 200, 200, 2, 1, 128}, {0, true}, {150}, 0);
  check_groups(checks);
  check_extremes(checks);
  check_not_finite(checks);
  check_gradients_not_finite(checks);
  check_all_runs(checks);
}

}  // namespace

int main() {
  setenv("LLMKIT_EMULATED_SHARED", "232448", 1);  // as on a chip of compute capability 9.0
  return run_on_device(check_all);
}
