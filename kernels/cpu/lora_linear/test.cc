#include <algorithm>

#include "base/parallel.h"
#include "cpu/gemm/low_rank.h"
#include "cpu/gemm/reference.h"
#include "cpu/linear/linear.h"
#include "cpu/lora_linear/lora_linear.h"
#include "cpu/packed/packed.h"
#include "cpu/packed_grad/reference.h"
#include "cpu/weight/reference.h"
#include "testing/held.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

constexpr float kScale = 0.75f;

/// What may be left out where one or both factors are sums of two bf16 values: 2^-17 of each, and
/// of the product of both low parts.
constexpr double kOneSplit = 128, kBothSplit = 384;

/// Everything of one layer and one batch; dropped is x where `rate` is 0.
struct Layer {
  LoraWeight w;
  size_t m;
  Buffer x, dropped, bias, a, b, dy;

  Layer(const WeightView& view, const PackedWeight* packed, size_t rank, size_t rows_of_x,
        bool drops)
      : m(rows_of_x),
        x(m * view.cols, 1),
        dropped(m * view.cols, drops ? 2 : 1),
        bias(view.rows, 3),
        a(rank * view.cols, 4),
        b(view.rows * rank, 5),
        dy(m * view.rows, 6) {
    w = {view, packed, rank, a.data(), b.data(), kScale};
  }
  /// Whether the forward pair is multiplied in bf16, x rounded and a, b and low in two parts; so
  /// are gradients beside every packed weight.
  bool splits() const { return w.packed != nullptr && w.packed->compute != Compute::kInt8; }
  LoraArgs forward(float* y, float* low) const {
    return {m, x.data(), dropped.data(), bias.data(), y, low};
  }
};

/// What the frozen weight alone gives.
void product(const Layer& l, float* y) {
  if (l.w.packed != nullptr) return packed_linear(*l.w.packed, l.m, l.x.data(), l.bias.data(), y);
  linear(l.w.weight, l.m, l.x.data(), l.bias.data(), y);
}
void gradient(const Layer& l, float* dx) {
  const size_t rows = l.w.weight.rows;
  if (l.w.packed != nullptr)
    return packed_grad_input(*l.w.packed,
                             {l.m, l.dy.data(), rows, 0, l.w.packed->tiles, dx, false});
  linear_grad_input(l.w.weight, l.m, l.dy.data(), dx);
}

std::vector<float> rounded_if(bool rounds, const Buffer& x) {
  std::vector<float> values(x.data(), x.data() + x.size());
  if (rounds) std::transform(values.begin(), values.end(), values.begin(), bf16_reference);
  return values;
}

/// y and low: low against double, y against the frozen product, bit for bit what is added to it.
void check_forward(Checks& checks, const Layer& l) {
  const size_t rows = l.w.weight.rows, cols = l.w.weight.cols, rank = l.w.rank;
  Buffer y(l.m * rows, 7), low(l.m * rank, 8), want(l.m * rows, 9);
  const std::vector<float> x = rounded_if(l.splits(), l.dropped);
  const double split = l.splits() ? kOneSplit : 0, both_split = l.splits() ? kBothSplit : 0;
  lora_linear(l.w, l.forward(y.data(), low.data()));
  for (size_t i = 0; i < l.m * rank; ++i) {
    const Sum sum =
        dot_reference(cols, x.data() + i / rank * cols, 1, l.a.data() + i % rank * cols, 1);
    checks.near("low", low[i], kScale * sum.value, ulps_of(cols) + split, kScale * sum.scale());
  }
  product(l, want.data());
  for (size_t i = 0; i < l.m * rows; ++i) {
    const Sum sum = dot_reference(rank, low.data() + i / rows * rank, 1,
                                  l.b.data() + i % rows * rank, 1, want[i]);
    checks.near("y", y[i], sum.value, ulps_of(rank) + both_split, sum.scale());
  }
  if (l.splits()) return;
  add_low_rank({rank, low.data(), l.b.data(), 1, rank}, {0, l.m, 0, rows, want.data(), rows});
  checks.same("y as a whole", y.data(), want.data(), l.m * rows);
}

/// sum over the rows of x of left[m, i] * right[m, j]
Sum over_rows(size_t m, const float* left, size_t left_cols, const float* right,
              size_t right_cols) {
  return dot_reference(m, left, left_cols, right, right_cols);
}

void check_gradient(Checks& checks, const Layer& l, bool drops) {
  const size_t rows = l.w.weight.rows, cols = l.w.weight.cols, rank = l.w.rank, m = l.m;
  const Buffer low(m * rank, 8);
  Buffer dx(m * cols, 1), ddropped(m * cols, 2), da(rank * cols, 3), db(rows * rank, 4);
  lora_linear_grad(l.w, {m, l.dy.data(), l.dropped.data(), low.data(), dx.data(),
                         drops ? ddropped.data() : nullptr, da.data(), db.data()});
  const bool packed = l.w.packed != nullptr;
  const std::vector<float> dy = rounded_if(packed, l.dy), x = rounded_if(packed, l.dropped);
  const double split = packed ? kOneSplit : 0, both_split = packed ? kOneSplit + kBothSplit : 0;
  // dlow, and what its rounding errors grow with: they go on into dx and da.
  std::vector<float> dlow(m * rank), scales(m * rank), want(m * cols);
  for (size_t i = 0; i < dlow.size(); ++i) {
    const Sum sum =
        dot_reference(rows, dy.data() + i / rank * rows, 1, l.b.data() + i % rank, rank);
    dlow[i] = static_cast<float>(kScale * sum.value);
    scales[i] = static_cast<float>(kScale * sum.scale());
  }
  gradient(l, want.data());
  const double ulps = ulps_of(rank) + ulps_of(rows) + both_split;
  for (size_t i = 0; i < m * cols; ++i) {
    const Sum sum = dot_reference(rank, dlow.data() + i / cols * rank, 1, l.a.data() + i % cols,
                                  cols, drops ? 0 : want[i]);
    const Sum most = dot_reference(rank, scales.data() + i / cols * rank, 1, l.a.data() + i % cols,
                                   cols, drops ? 0 : want[i]);
    checks.near("dx", drops ? ddropped[i] : dx[i], sum.value, ulps, most.scale());
  }
  if (drops) checks.same("dx of the frozen weight", dx.data(), want.data(), m * cols);
  for (size_t i = 0; i < rank * cols; ++i) {
    const Sum sum = over_rows(m, dlow.data() + i / cols, rank, x.data() + i % cols, cols);
    const Sum most = over_rows(m, scales.data() + i / cols, rank, x.data() + i % cols, cols);
    checks.near("da", da[i], sum.value, ulps_of(m) + ulps_of(rows) + 2 * split, most.scale());
  }
  for (size_t i = 0; i < rows * rank; ++i) {
    const Sum sum = over_rows(m, dy.data() + i / rank, rows, low.data() + i % rank, rank);
    checks.near("db", db[i], sum.value, ulps_of(m) + split, sum.scale());
  }
}

/// x, dropped and y held as bf16: as their values in float32, y rounded with what is added to it.
void check_held(Checks& checks, const Layer& l, bool drops) {
  const size_t rows = l.w.weight.rows, cols = l.w.weight.cols, rank = l.w.rank, m = l.m;
  const Held x(m * cols, 11), dropped(m * cols, drops ? 12 : 11);
  Buffer want(m * rows, 1), low(m * rank, 2), want_low(m * rank, 3);
  HeldResult y(m * rows);
  lora_linear(l.w, {m, x.floats(), dropped.floats(), l.bias.data(), want.data(), want_low.data()});
  lora_linear(l.w, {m, x.data(), dropped.data(), l.bias.data(), y.data(), low.data()});
  y.check(checks, "held y", want.data());
  checks.same("held low", low.data(), want_low.data(), m * rank);
  Buffer dx(m * cols, 4), da(rank * cols, 5), want_da(rank * cols, 6), db(rows * rank, 7);
  lora_linear_grad(l.w, {m, l.dy.data(), dropped.floats(), low.data(), dx.data(), nullptr,
                         want_da.data(), db.data()});
  lora_linear_grad(
      l.w, {m, l.dy.data(), dropped.data(), low.data(), dx.data(), nullptr, da.data(), db.data()});
  checks.same("held da", da.data(), want_da.data(), rank * cols);
}

/// The same bits for every number of rows and of threads.
void check_bits(Checks& checks, const WeightView& view, const PackedWeight* packed) {
  const size_t rows = view.rows, rank = 5, most = 60;
  const Layer all(view, packed, rank, most, false);
  Buffer want(most * rows, 1), y(most * rows, 2), low(most * rank, 3);
  set_thread_count(1);
  lora_linear(all.w, all.forward(want.data(), low.data()));
  for (size_t threads = 1; threads <= 3; ++threads) {
    set_thread_count(threads);
    for (const size_t m : {1, 2, 7, 17, 60}) {
      LoraArgs args = all.forward(y.data(), low.data());
      args.m = m;
      args.x = all.x.data() + (most - m) * view.cols;
      args.dropped = args.x;
      lora_linear(all.w, args);
      checks.same("any m", y.data(), want.data() + (most - m) * rows, m * rows);
    }
  }
}

/// The same bits of gradients for every number of threads, and of a row's for every number of rows.
void check_gradient_bits(Checks& checks, const WeightView& view, const PackedWeight* packed) {
  const size_t rows = view.rows, cols = view.cols, rank = 5, most = 150;
  const Layer all(view, packed, rank, most, false);
  const Buffer low(most * rank, 8);
  Buffer dx(most * cols, 1), da(rank * cols, 2), db(rows * rank, 3);
  Buffer want_dx(most * cols, 4), want_da(rank * cols, 5), want_db(rows * rank, 6);
  const auto run = [&](size_t skip, Buffer& dx, Buffer& da, Buffer& db) {
    lora_linear_grad(all.w,
                     {most - skip, all.dy.data() + skip * rows, all.dropped.data() + skip * cols,
                      low.data() + skip * rank, dx.data(), nullptr, da.data(), db.data()});
  };
  set_thread_count(1);
  run(0, want_dx, want_da, want_db);
  for (size_t threads = 1; threads <= 3; ++threads) {
    set_thread_count(threads);
    run(0, dx, da, db);
    checks.same("dx, any threads", dx.data(), want_dx.data(), most * cols);
    checks.same("da, any threads", da.data(), want_da.data(), rank * cols);
    checks.same("db, any threads", db.data(), want_db.data(), rows * rank);
    for (const size_t m : {1, 2, 17, 33, 64, 97}) {
      run(most - m, dx, da, db);
      checks.same("dx, any m", dx.data(), want_dx.data() + (most - m) * cols, m * cols);
    }
  }
}

/// What LoRA adds to a product of zeros, for any number of rows: beside float32 and integers it
/// counts below the normal numbers; in bf16 it may be lost there, above them it is not.
void check_tiny(Checks& checks, const WeightView& zeros, const PackedWeight* packed, float factor) {
  const size_t most = 70, cols = zeros.cols;
  const std::vector<float> x(most * cols, 1.0f), a(cols, 1e-20f), b(zeros.rows, factor);
  const bool splits = packed != nullptr && packed->compute == Compute::kBf16;
  float first = -1;
  for (const size_t m : {size_t{1}, size_t{4}, size_t{5}, size_t{16}, most}) {
    std::vector<float> y(m * zeros.rows), low(m);
    lora_linear({zeros, packed, 1, a.data(), b.data(), 1.0f},
                {m, x.data(), x.data(), nullptr, y.data(), low.data()});
    const float want = low[0] * factor;
    checks.that("low", std::fabs(low[0] / (1e-20f * static_cast<float>(cols)) - 1) < 1e-4);
    if (first < 0) first = y[0];
    for (const float value : y) {
      checks.that("any m", value == first);
      if (!splits) checks.that("tiny", value == want && value > 0);
      const bool lost = value == 0 && want < 0x1p-126f;
      if (splits) checks.that("tiny in bf16", lost || std::fabs(value / want - 1) < 0x1p-15);
    }
  }
}

void check_tiny(Checks& checks) {
  const size_t rows = 33, cols = 64;
  const std::vector<uint8_t> zeros(2 * rows * cols), middles(rows * cols, 128);
  const std::vector<float> scales(rows, 1.0f);
  WeightView halves, bytes;
  halves.format = WeightFormat::kBf16;
  bytes.format = WeightFormat::kInt8;
  halves.rows = bytes.rows = rows;
  halves.cols = bytes.cols = bytes.group_size = cols;
  halves.codes = zeros.data();
  bytes.codes = middles.data();
  bytes.scales = scales.data();
  const PackedWeight rounded = pack_weight(halves, Compute::kBf16);
  const PackedWeight integers = pack_weight(bytes, Compute::kInt8);
  for (const float factor : {1e-21f, 1e-17f}) {  // below and above the normal numbers
    check_tiny(checks, halves, nullptr, factor);
    check_tiny(checks, halves, &rounded, factor);
    check_tiny(checks, bytes, &integers, factor);
  }
}

/// Without rows, the gradients of the weights are zeros.
void check_no_rows(Checks& checks) {
  const RandomWeight random({WeightFormat::kInt8, 40, 96, 32, false, false});
  const PackedWeight packed = pack_weight(random.view, Compute::kBf16);
  const std::vector<float> a(3 * 96, 1.0f), b(40 * 3, 1.0f);
  std::vector<float> da(3 * 96, 1.0f), db(40 * 3, 1.0f);
  for (const PackedWeight* const weight : {static_cast<const PackedWeight*>(nullptr), &packed}) {
    std::fill(da.begin(), da.end(), 1.0f);
    std::fill(db.begin(), db.end(), 1.0f);
    const float* const none = nullptr;
    lora_linear_grad({random.view, weight, 3, a.data(), b.data(), 1.0f},
                     {0, none, none, none, nullptr, nullptr, da.data(), db.data()});
    for (const float value : da) checks.that("da of no rows", value == 0);
    for (const float value : db) checks.that("db of no rows", value == 0);
  }
}

void check_all(Checks& checks) {
  check_no_rows(checks);
  check_tiny(checks);
  using F = WeightFormat;
  for (const WeightCase& c : {WeightCase{F::kF32, 83, 75, 0, false, false},
                              WeightCase{F::kInt4, 150, 320, 64, false, true},
                              WeightCase{F::kInt8, 40, 96, 32, false, false},
                              WeightCase{F::kNf4, 100, 128, 64, true, false}}) {
    const RandomWeight random(c);
    std::vector<Compute> computes = {Compute::kF32};
    if (c.format != F::kF32) computes.push_back(Compute::kBf16);
    if (c.format != F::kF32) computes.push_back(Compute::kBf16Dequantized);
    if (c.format == F::kInt4 || c.format == F::kInt8) computes.push_back(Compute::kInt8);
    for (const Compute compute : computes) {
      const PackedWeight weight =
          compute == Compute::kF32 ? PackedWeight{} : pack_weight(random.view, compute);
      const PackedWeight* const packed = compute == Compute::kF32 ? nullptr : &weight;
      for (const size_t m : {1, 5, 70})
        for (const size_t rank : {1, 8, 12, 16, 70})
          for (const bool drops : {false, true}) {
            const Layer layer(random.view, packed, rank, m, drops);
            check_forward(checks, layer);
            check_gradient(checks, layer, drops);
            if (packed != nullptr) check_held(checks, layer, drops);
          }
      check_bits(checks, random.view, packed);
      check_gradient_bits(checks, random.view, packed);
    }
  }
  // The other formats, and tails of rows, columns, rows of x and the rank.
  for (const WeightCase& c :
       {WeightCase{F::kBf16, 83, 75, 0, false, false}, WeightCase{F::kF16, 31, 65, 0, false, false},
        WeightCase{F::kInt4, 65, 96, 32, false, false},
        WeightCase{F::kInt8, 15, 63, 63, false, true},
        WeightCase{F::kFp4, 17, 33, 64, false, false}}) {
    const RandomWeight random(c);
    for (const Compute compute : {Compute::kBf16, Compute::kInt8}) {
      const PackedWeight weight = pack_weight(random.view, compute);
      for (const size_t m : {0, 1, 15, 33})
        for (const size_t rank : {1, 7, 17}) {
          const Layer layer(random.view, &weight, rank, m, m == 15);
          check_forward(checks, layer);
          check_gradient(checks, layer, m == 15);
          check_held(checks, layer, m == 15);
        }
      check_bits(checks, random.view, &weight);
    }
  }
  // More rows of dy than a panel has, more parts of the rank than rows of a weight that are decoded
  // at a time, more columns of dy than a strip.
  const RandomWeight tall({F::kNf4, 1100, 64, 64, true, false});
  const PackedWeight weight = pack_weight(tall.view, Compute::kBf16);
  for (const size_t rank : {3, 130, 256}) {
    const Layer layer(tall.view, &weight, rank, 400, false);
    check_forward(checks, layer);
    check_gradient(checks, layer, false);
    check_held(checks, layer, false);
  }
}

}  // namespace

int main() { return run(check_all); }
