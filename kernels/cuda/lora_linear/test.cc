#include <limits>

#include "base/bf16.h"
#include "cpu/gemm/reference.h"
#include "cpu/weight/reference.h"
#include "cuda/linear/linear.h"
#include "cuda/lora_linear/lora_linear.h"
#include "cuda/packed/test_weight.h"
#include "cuda/packed_linear/packed_linear.h"
#include "cuda/testing/shifted.h"
#include "cuda/weight/testing.h"

using namespace llmkit;
using namespace llmkit::cuda::testing;

namespace {

using Values = std::vector<float>;
using Halves = std::vector<uint16_t>;

Values rounded(Values values) {
  for (float& value : values) value = from_bf16(to_bf16(value));
  return values;
}

constexpr float kScale = 0.75f;
/// What is lost when the factors beside a packed weight are split in two bf16 values each.
constexpr double kSplitError = 0x1p-15;

/// Everything of one layer and one batch; dropped is x where it drops nothing. Both are values of
/// bf16, so that they may be held so.
struct Layer {
  Layer(const WeightView& weight, const cuda::PackedWeight* packed, size_t m, size_t rank,
        bool drops)
      : m(m),
        rows(weight.rows),
        cols(weight.cols),
        rank(rank),
        dropped(rounded(random_normal(m * cols, drops ? 2 : 1))),
        a(random_normal(rank * cols, 4)),
        b(random_normal(rows * rank, 5)),
        dy(random_normal(m * rows, 6)),
        low(random_normal(m * rank, 8)),
        x_there(rounded(random_normal(m * cols, 1))),
        bias_there(random_normal(rows, 3)),
        dropped_there(dropped),
        a_there(a),
        b_there(b),
        dy_there(dy),
        low_there(low),
        held_x(halves_of(random_normal(m * cols, 1))),
        held_dropped(halves_of(dropped)) {
    pair = {weight, packed, rank, a_there.data(), b_there.data(), kScale};
  }
  size_t m, rows, cols, rank;
  Values dropped, a, b, dy, low;
  DeviceVector<float> x_there, bias_there, dropped_there, a_there, b_there, dy_there, low_there;
  DeviceVector<uint16_t> held_x, held_dropped;
  cuda::LoraWeight pair;
};

struct Forward {
  Values y, low;
};

/// The last `m` rows.
Forward forward(const Layer& l, size_t m) {
  DeviceVector<float> y(m * l.rows), low(m * l.rank);
  LoraArgs args;
  args.m = m;
  args.x = l.x_there.data() + (l.m - m) * l.cols;
  args.dropped = l.dropped_there.data() + (l.m - m) * l.cols;
  args.bias = l.bias_there.data();
  args.y = y.data();
  args.low = low.data();
  DeviceVector<char> workspace(cuda::lora_linear_workspace(l.pair, args));
  expect(cuda::lora_linear(l.pair, args, workspace.data(), stream()), "lora_linear");
  return {y.values(), low.values()};
}

/// What the frozen weight alone gives.
Values product(const Layer& l) {
  DeviceVector<float> y(l.m * l.rows);
  if (l.pair.packed != nullptr) {
    const cuda::PackedLayer layer = {l.pair.packed, l.bias_there.data(), nullptr, y.data(), {}};
    const cuda::PackedLinearArgs args = {l.m, l.x_there.data(), &layer, 1};
    DeviceVector<char> workspace(cuda::packed_linears_workspace(args));
    expect(cuda::packed_linears(args, workspace.data(), stream()), "packed_linears");
    return y.values();
  }
  const cuda::LinearArgs args = {l.pair.weight,       l.m,     l.x_there.data(),
                                 l.bias_there.data(), nullptr, y.data()};
  DeviceVector<char> workspace(cuda::linear_workspace(args));
  expect(cuda::linear(args, workspace.data(), stream()), "linear");
  return y.values();
}

Values gradient(const Layer& l) {
  DeviceVector<float> dx(l.m * l.cols);
  if (l.pair.packed != nullptr) {
    const cuda::PackedGradInputArgs args = {l.m, l.dy_there.data(), l.pair.packed, dx.data(), {}};
    DeviceVector<char> workspace(cuda::packed_grad_input_workspace(args));
    expect(cuda::packed_grad_input(args, workspace.data(), stream()), "packed_grad_input");
    return dx.values();
  }
  const cuda::LinearGradInputArgs args = {l.pair.weight, l.m, l.dy_there.data(), dx.data()};
  DeviceVector<char> workspace(cuda::linear_grad_input_workspace(args));
  expect(cuda::linear_grad_input(args, workspace.data(), stream()), "linear_grad_input");
  return dx.values();
}

/// Rounding errors of what the pair adds to y or dx.
double ulps_added(const Layer& l, size_t terms) {
  const double split = kSplitError / std::numeric_limits<float>::epsilon();
  return ulps_of(terms) + (l.pair.packed != nullptr ? split : 0);
}

/// x and dropped as bf16 give the bits of the same values as float32; y as bf16 is those rounded.
void check_held(Checks& checks, const Layer& l, const Forward& got) {
  DeviceVector<float> y(l.m * l.rows), low(l.m * l.rank);
  DeviceVector<uint16_t> held_y(l.m * l.rows);
  LoraArgs args;
  args.m = l.m;
  args.x = l.held_x.data();
  args.dropped = l.held_dropped.data();
  args.bias = l.bias_there.data();
  args.low = low.data();
  const auto run = [&](Elements to) {
    args.y = to;
    DeviceVector<char> workspace(cuda::lora_linear_workspace(l.pair, args));
    return cuda::lora_linear(l.pair, args, workspace.data(), stream());
  };
  expect(run(y.data()), "lora_linear");
  checks.that("y of bf16", same_bytes(y.values(), got.y));
  checks.that("low of bf16", same_bytes(low.values(), got.low));
  const bool packed = l.pair.packed != nullptr;
  checks.that("only packed weights round y", (run(held_y.data()) == cudaSuccess) == packed);
  if (packed) checks.that("y as bf16", same_bytes(held_y.values(), halves_of(got.y)));
}

void check_forward(Checks& checks, const Layer& l) {
  const Forward got = forward(l, l.m);
  for (size_t i = 0; i < got.low.size(); ++i) {
    const Sum sum =
        dot_reference(l.cols, &l.dropped[i / l.rank * l.cols], 1, &l.a[i % l.rank * l.cols], 1);
    checks.near("low", got.low[i], kScale * sum.value, ulps_of(l.cols), kScale * sum.scale());
  }
  check_held(checks, l, got);
  const Values frozen = product(l);
  for (size_t i = 0; i < got.y.size(); ++i) {
    const Sum sum = dot_reference(l.rank, &got.low[i / l.rows * l.rank], 1,
                                  &l.b[i % l.rows * l.rank], 1, frozen[i]);
    checks.near("y", got.y[i], sum.value, ulps_added(l, l.rank), sum.scale());
  }
  for (const size_t m : {1, 2, 17, 65}) {
    if (m > l.m) continue;
    const Forward some = forward(l, m);
    checks.same("y, any m", some.y.data(), &got.y[(l.m - m) * l.rows], some.y.size());
    checks.same("low, any m", some.low.data(), &got.low[(l.m - m) * l.rank], some.low.size());
  }
}

/// The gradients of one layer on the device, of the last `m` rows; dropped is bf16 with `held`.
struct Gradients {
  Gradients(const Layer& l, bool drops, size_t m, bool held = false) {
    DeviceVector<float> dx_there(m * l.cols), ddropped_there(m * l.cols);
    DeviceVector<float> da_there(l.rank * l.cols), db_there(l.rows * l.rank);
    LoraGradArgs args;
    args.m = m;
    args.dy = l.dy_there.data() + (l.m - m) * l.rows;
    const size_t begin = (l.m - m) * l.cols;
    args.dropped = l.dropped_there.data() + begin;
    if (held) args.dropped = l.held_dropped.data() + begin;
    args.low = l.low_there.data() + (l.m - m) * l.rank;
    args.dx = dx_there.data();
    args.ddropped = drops ? ddropped_there.data() : nullptr;
    args.da = da_there.data();
    args.db = db_there.data();
    DeviceVector<char> workspace(cuda::lora_linear_grad_workspace(l.pair, args));
    expect(cuda::lora_linear_grad(l.pair, args, workspace.data(), stream()), "lora_linear_grad");
    dx = dx_there.values();
    ddropped = ddropped_there.values();
    da = da_there.values();
    db = db_there.values();
  }
  Values dx, ddropped, da, db;
};

/// dlow in double, and what its rounding errors grow with: they go on into dx and da.
struct Dlow {
  explicit Dlow(const Layer& l) : values(l.m * l.rank), scales(values.size()) {
    for (size_t i = 0; i < values.size(); ++i) {
      const Sum sum =
          dot_reference(l.rows, &l.dy[i / l.rank * l.rows], 1, &l.b[i % l.rank], l.rank);
      values[i] = static_cast<float>(kScale * sum.value);
      scales[i] = static_cast<float>(kScale * sum.scale());
    }
  }
  Values values, scales;
};

void check_gradient(Checks& checks, const Layer& l, bool drops) {
  const Gradients got(l, drops, l.m), held(l, drops, l.m, true);
  checks.that("dx of bf16", same_bytes(held.dx, got.dx));
  checks.that("ddropped of bf16", same_bytes(held.ddropped, got.ddropped) || !drops);
  checks.that("da of bf16", same_bytes(held.da, got.da));
  checks.that("db of bf16", same_bytes(held.db, got.db));
  const Dlow dlow(l);
  const Values frozen = gradient(l);
  const double ulps = ulps_added(l, l.rank) + ulps_of(l.rows);
  for (size_t i = 0; i < got.dx.size(); ++i) {
    const float start = drops ? 0 : frozen[i];
    const size_t at = i / l.cols * l.rank, col = i % l.cols;
    const Sum sum = dot_reference(l.rank, &dlow.values[at], 1, &l.a[col], l.cols, start);
    const Sum most = dot_reference(l.rank, &dlow.scales[at], 1, &l.a[col], l.cols, start);
    checks.near("dx", drops ? got.ddropped[i] : got.dx[i], sum.value, ulps, most.scale());
  }
  if (drops) checks.that("dx of the frozen weight", same_bytes(got.dx, frozen));
  for (const size_t m : {1, 17}) {
    if (m > l.m) continue;
    const Gradients some(l, drops, m);
    const size_t skip = (l.m - m) * l.cols;
    checks.same("dx, any m", some.dx.data(), &got.dx[skip], some.dx.size());
    if (drops)
      checks.same("ddropped, any m", some.ddropped.data(), &got.ddropped[skip], m * l.cols);
  }
  for (size_t i = 0; i < got.da.size(); ++i) {
    const size_t r = i / l.cols, col = i % l.cols;
    const Sum sum = dot_reference(l.m, &dlow.values[r], l.rank, &l.dropped[col], l.cols);
    const Sum most = dot_reference(l.m, &dlow.scales[r], l.rank, &l.dropped[col], l.cols);
    checks.near("da", got.da[i], sum.value, ulps_of(l.m) + ulps_of(l.rows), most.scale());
  }
  for (size_t i = 0; i < got.db.size(); ++i) {
    const Sum sum = dot_reference(l.m, &l.dy[i / l.rank], l.rows, &l.low[i % l.rank], l.rank);
    checks.near("db", got.db[i], sum.value, ulps_of(l.m), sum.scale());
  }
}

void check_all(Checks& checks) {
  using F = WeightFormat;
  for (const WeightCase& c : {WeightCase{F::kF32, 83, 75, 0, false, false},
                              WeightCase{F::kInt4, 90, 192, 64, false, true},
                              WeightCase{F::kNf4, 100, 128, 64, true, false}}) {
    const RandomWeight random(c);
    const UploadedWeight stored(random.view);
    const DeviceWeight packed(random.view);
    for (const cuda::PackedWeight* const form :
         {static_cast<const cuda::PackedWeight*>(nullptr), &packed.weight()})
      for (const size_t m : {1, 5, 70})
        for (const size_t rank : {1, 16, 70})
          for (const bool drops : {false, true}) {
            const Layer layer(stored.view(), form, m, rank, drops);
            check_forward(checks, layer);
            check_gradient(checks, layer, drops);
          }
  }
}

}  // namespace

int main() { return run_on_device(check_all); }
