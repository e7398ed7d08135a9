#pragma once

#include <cstdlib>
#include <cstring>

#include "cuda/attention/group_rows.h"
#include "cuda/attention/test_problem.h"
#include "cuda/packed_linear/products.h"
#ifdef LLMKIT_EMULATED
#include "cuda/emulator/warpgroup.h"
#endif

// Attention by products of warpgroups beside attention by mma.sync.

namespace llmkit::cuda::testing {

inline Forward attend_by(const DeviceProblem& device, Instructions instructions) {
  AttentionArgs args = device.args;
  args.instructions = instructions;
  return attend(args);
}

/// The order of sums is the same: so are the bits where those of a product are.
inline void check_same_order(Checks& checks, const Problem& problem) {
  if (warpgroups() != Warpgroups::kSameBits) return;
  const DeviceProblem device(problem, true);
  const Forward want = attend_by(device, Instructions::kWarps);
  for (const Instructions by : {Instructions::kWarpgroups, Instructions::kEither}) {
    const Forward got = attend_by(device, by);
    checks.same("y by warpgroups", got.y.data(), want.y.data(), want.y.size());
    checks.same("its sums", got.log_sum_exp.data(), want.log_sum_exp.data(),
                want.log_sum_exp.size());
  }
}

/// With bits of their own: near the formula, and one query has the bits that it has among many.
inline void check_own_bits(Checks& checks, Problem problem) {
  for (std::vector<float>* x : {&problem.q, &problem.k, &problem.v}) *x = rounded(*x);
  const Shape& s = problem.shape;
  const DeviceProblem device(problem, true);
  const Forward got = attend_by(device, Instructions::kWarpgroups);
  const llmkit::AttentionReference want(problem.host(), nullptr);
  near_all(checks, "y by warpgroups", got.y, want.y, 32768 + ulps_of(s.E) + ulps_of(s.S));
  Problem last = problem;
  last.shape.T = 1;
  const size_t query = s.H * s.E, before = (s.T - 1) * query;
  last.q.assign(problem.q.begin() + static_cast<ptrdiff_t>(before),
                problem.q.begin() + static_cast<ptrdiff_t>(before + query));
  last.first = {problem.first[s.T - 1]};
  last.last = {problem.last[s.T - 1]};
  const DeviceProblem alone(last, true);
  const Forward one = attend_by(alone, Instructions::kWarpgroups);
  checks.same("one query", one.y.data(), got.y.data() + before, query);
#ifdef LLMKIT_EMULATED
  const Forward by_warps = attend_by(device, Instructions::kWarps);
  const size_t bytes = got.y.size() * sizeof(float);
  checks.that("bits of its own", std::memcmp(got.y.data(), by_warps.y.data(), bytes) != 0);
#endif
}

#ifdef LLMKIT_EMULATED
/// The gradient has the order of sums of mma.sync's kernels, too, which a chip without products of
/// warpgroups has.
inline void check_same_gradient(Checks& checks, const Problem& problem) {
  const DeviceProblem device(problem, true);
  const Forward forward = attend(device.args);
  const Gradients got = gradients_of(device, forward);
  setenv("LLMKIT_EMULATED_SHARED", "102400", 1);
  const Gradients want = gradients_of(device, forward);
  setenv("LLMKIT_EMULATED_SHARED", "232448", 1);
  checks.same("dq by warpgroups", got.dq.data(), want.dq.data(), want.dq.size());
  checks.same("dk by warpgroups", got.dk.data(), want.dk.data(), want.dk.size());
  checks.same("dv by warpgroups", got.dv.data(), want.dv.data(), want.dv.size());
}

inline void check_same_gradients(Checks& checks) {
  check_same_gradient(checks, {{1, 150, 150, 2, 1, 128}, {}, {}});
  check_same_gradient(checks, {{1, 140, 300, 1, 1, 64}, {}, {70}});
  check_same_gradient(checks, {{2, 70, 150, 4, 2, 64}, {2.5f, true}, {}});
  check_same_gradient(checks, {{1, 400, 400, 1, 1, 64}, {}, {1 << 20, 23}});
  check_same_gradient(checks, {{1, 3, 70, 2, 2, 128}, {0, true, -0.2f}, {}});
}
#endif

/// Every 8 values of 64 rows have a place of their own, in panels that lie as the packed product's
/// rows of x do.
template <int kE>
void check_places(Checks& checks) {
  using Rows = GroupRows<kE>;
  std::vector<bool> used(Rows::bytes(64) / 16);
  for (int row = 0; row < 64; ++row)
    for (int chunk = 0; chunk < Rows::kChunks; ++chunk) {
      const uint32_t at = Rows::at(row, chunk), panel = chunk / 8 * Rows::kPanelBytes;
      if (at % 16 != 0 || at / 16 >= used.size() || used[at / 16])
        return checks.that("a place of its own", false);
      used[at / 16] = true;
      checks.that("as in x", at == x_address(panel, row, chunk % 8));
    }
}

inline void check_groups(Checks& checks) {
  check_places<64>(checks);
  check_places<128>(checks);
  if (!has_warpgroups()) return;
  const Seen all = {}, window = {70}, segments = {1 << 20, 23};
  check_same_order(checks, {{1, 150, 150, 2, 1, 128}, {}, all});
  check_same_order(checks, {{1, 140, 300, 1, 1, 64}, {}, window});
  check_same_order(checks, {{2, 70, 150, 4, 2, 64}, {2.5f, true}, all});
  check_same_order(checks, {{1, 130, 130, 1, 1, 128}, {0, true, -0.2f}, {1}});
  check_same_order(checks, {{1, 200, 200, 2, 1, 64}, {}, segments});
  check_same_order(checks, {{1, 200, 200, 1, 1, 128}, {}, segments});
  check_same_order(checks, {{1, 3, 70, 2, 2, 128}, {}, all});
  const Problem one_sequence({1, 140, 140, 2, 1, 128}, {}, all);
#ifdef LLMKIT_EMULATED
  emulator::warpgroups_differ = true;
#endif
  check_own_bits(checks, one_sequence);
#ifdef LLMKIT_EMULATED
  emulator::warpgroups_differ = false;
  check_same_gradients(checks);
#endif
}

}  // namespace llmkit::cuda::testing
