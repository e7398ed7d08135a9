#include "cuda/decode_state/decode_state.h"
#include "cuda/testing/testing.h"

using namespace llmkit;
using namespace llmkit::cuda;
using namespace llmkit::cuda::testing;

namespace {

using Ints = std::vector<int32_t>;

/// The state of some rows, and what a test looks at.
struct Rows {
  static constexpr size_t kHalf = 70, kPositions = 40;  // more angles than a block has threads
  Rows(const Ints& at, const Ints& behind_)
      : count(at.size()),
        ids(Ints(count, 9)),
        positions(at),
        steps(Ints(count, 0)),
        near_first(count),
        far_first(count),
        table_rows(count),
        streams(Ints(count, 0)),
        behind(behind_),
        key(Ints{0x63be4ff7}),
        uniforms(count),
        cos_table(random_normal(kPositions * kHalf, 1)),
        sin_table(random_normal(kPositions * kHalf, 2)),
        cos(count * kHalf),
        sin(count * kHalf) {
    Ints numbers(count);
    for (size_t i = 0; i < count; ++i) numbers[i] = static_cast<int32_t>(i);
    expect(cudaMemcpyAsync(streams.data(), numbers.data(), count * sizeof(int32_t),
                           cudaMemcpyHostToDevice, stream()),
           "streams");
  }

  DecodeRows state() {
    DecodeRows state;
    state.rows = count;
    state.ids = ids.data();
    state.positions = positions.data();
    state.steps = steps.data();
    state.windows = 2;
    state.window[0] = {3, near_first.data()};
    state.window[1] = {100, far_first.data()};
    state.table_rows = table_rows.data();
    state.table_offset = 2;
    state.half = kHalf;
    state.angle_positions = kPositions;
    state.cos_table = cos_table.data();
    state.sin_table = sin_table.data();
    state.cos = cos.data();
    state.sin = sin.data();
    state.draw = {uniforms.data(), streams.data(), behind.data(), key.data()};
    return state;
  }

  size_t count;
  DeviceVector<int32_t> ids, positions, steps, near_first, far_first, table_rows, streams, behind,
      key;
  DeviceVector<double> uniforms;
  DeviceVector<float> cos_table, sin_table, cos, sin;
};

/// What follows from positions is there, and is of these positions.
void check_placed(Checks& checks, Rows& rows, const Ints& at) {
  const Ints near_first = rows.near_first.values(), far_first = rows.far_first.values();
  const Ints table_rows = rows.table_rows.values();
  const std::vector<float> cos_table = rows.cos_table.values(), cos = rows.cos.values();
  const std::vector<float> sin_table = rows.sin_table.values(), sin = rows.sin.values();
  checks.that("positions", rows.positions.values() == at);
  for (size_t row = 0; row < rows.count; ++row) {
    const int32_t position = at[row];
    checks.that("the first key of a window", near_first[row] == std::max(0, position - 2));
    checks.that("a window that is not full", far_first[row] == 0);
    checks.that("rows of learned positions", table_rows[row] == position + 2);
    const size_t from = std::min(static_cast<size_t>(position), Rows::kPositions - 1) * Rows::kHalf;
    checks.same("cos", &cos[row * Rows::kHalf], &cos_table[from], Rows::kHalf);
    checks.same("sin", &sin[row * Rows::kHalf], &sin_table[from], Rows::kHalf);
  }
}

void check_place(Checks& checks) {
  const Ints at = {0, 2, 3, 39, 57};  // the last one is past the table
  Rows rows(at, Ints(at.size(), 0));
  expect(place_rows(rows.state(), stream()), "place_rows");
  check_placed(checks, rows, at);
  checks.that("ids stay", rows.ids.values() == Ints(at.size(), 9));
}

void check_advance(Checks& checks) {
  constexpr size_t kSlots = 2, kVocab = 11;
  Rows rows({4, 7}, {0, 0});
  DeviceVector<int32_t> chosen(Ints{10, -1}), ring(kSlots * 2);
  DeviceVector<uint8_t> seen(std::vector<uint8_t>(2 * kVocab, 0));
  const ChosenTokens tokens = {chosen.data(), ring.data(), kSlots, seen.data(), kVocab};
  for (int step = 0; step < 3; ++step) {
    expect(advance_rows(rows.state(), tokens, stream()), "advance_rows");
    const Ints told = ring.values();
    const size_t slot = static_cast<size_t>(step) % kSlots;
    checks.that("the ring", told[slot * 2] == 10 && told[slot * 2 + 1] == -1);
    if (step == 0) checks.that("one slot at a time", told[2] == -1 && told[3] == -1);
    checks.that("no token becomes 0", rows.ids.values() == Ints{10, 0});
    check_placed(checks, rows, {5 + step, 8 + step});
  }
  std::vector<uint8_t> want(2 * kVocab, 0);
  want[10] = want[kVocab] = 1;
  checks.that("seen tokens", seen.values() == want);
}

/// uniformAt(7, stream, counter) of src/generate/random.ts, whose key is 0x63be4ff7.
void check_draws(Checks& checks) {
  Rows rows({5, 12}, {6, 3});
  expect(place_rows(rows.state(), stream()), "place_rows");
  const std::vector<double> got = rows.uniforms.values();
  checks.that("stream 0, number 0", got[0] == 0.43898426665506485);
  checks.that("stream 1, number 10", got[1] == 0.9164921908383148);
}

void check_all(Checks& checks) {
  check_place(checks);
  check_advance(checks);
  check_draws(checks);
}

}  // namespace

int main() { return run_on_device(check_all); }
