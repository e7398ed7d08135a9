#include "base/parallel.h"
#include "cpu/cross_entropy/reference.h"
#include "cpu/packed/packed.h"
#include "cpu/weight/reference.h"
#include "testing/testing.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

struct Results {
  Buffer losses, log_sum_exp, dh, dweight, dbias;
  std::vector<int32_t> greedy;
  explicit Results(const CrossEntropyArgs& p)
      : losses(p.m, 1),
        log_sum_exp(p.m, 2),
        dh(p.m * p.weight.cols, 3),
        dweight(p.weight.rows * p.weight.cols, 4),
        dbias(p.weight.rows, 5),
        greedy(p.m, 7) {}
  /// The gradients of what the loss has kept, or of logits that are made again.
  void fill(const CrossEntropyArgs& p, const float* dlosses, float* kept = nullptr) {
    CrossEntropyArgs keeping = p;
    keeping.kept = kept;
    cross_entropy(keeping, losses.data(), log_sum_exp.data(), greedy.data());
    cross_entropy_grad(keeping,
                       {log_sum_exp.data(), dlosses, dh.data(), dweight.data(), dbias.data()});
  }
};

void near_all(Checks& checks, const char* what, const Buffer& got, const std::vector<double>& want,
              double ulps) {
  double largest = 0;
  for (const double value : want) largest = std::fmax(largest, std::fabs(value));
  for (size_t i = 0; i < want.size(); ++i) checks.near(what, got[i], want[i], ulps, largest);
}

/// Whether targets are the first of the largest logits: equal words lie in one chunk and in others.
void check_greedy(Checks& checks, bool packed) {
  constexpr size_t kWords = 1200, kCols = 16;
  std::vector<float> w(kWords * kCols, 0.0f);
  for (const size_t word : {40, 43, 700, 1100}) w[word * kCols] = 1;
  for (const size_t word : {3, 690, 1199}) w[word * kCols + 1] = 2;
  const WeightView view = dense_view(w.data(), kWords, kCols);
  const PackedWeight made = packed ? pack_weight(view, Compute::kBf16) : PackedWeight{};
  const std::vector<int32_t> targets = {40, 43, 700, 1100, 3, 690, 1199, 0, -1, 40};
  Buffer h(targets.size() * kCols, 1), losses(targets.size(), 1), sums(targets.size(), 1);
  std::fill(h.data(), h.data() + h.size(), 0.0f);
  for (size_t i = 0; i < targets.size(); ++i) h[i * kCols + (i < 4 || i > 7 ? 0 : 1)] = 1;
  h[9 * kCols + 1] = 0.5f;  // words 3, 690 and 1199 are as probable as 40: 3 comes first
  std::vector<int32_t> greedy(targets.size(), 7);
  const CrossEntropyArgs p = {targets.size(), h.data(),       view,
                              nullptr,        targets.data(), packed ? &made : nullptr};
  cross_entropy(p, losses.data(), sums.data(), greedy.data());
  const std::vector<int32_t> want = {1, 0, 0, 0, 1, 0, 0, 0, 0, 0};
  checks.that("greedy", greedy == want);
}

/// A weight, packed or not, and how exact its products are, in units of epsilon.
struct Head {
  const WeightView& weight;
  const PackedWeight* packed = nullptr;
  double ulps = 0;
};

/// skip: every how many rows one has no target; 0: none.
void check(Checks& checks, const Head& head, size_t m, size_t skip, bool with_bias) {
  const WeightView& weight = head.weight;
  const size_t words = weight.rows, cols = weight.cols;
  Buffer h(m * cols, 11);
  const Buffer bias(words, 12), dlosses(m, 13);
  const float size = weight.format == WeightFormat::kInt8 ? 0.001f : 0.02f;  // codes are larger
  for (size_t i = 0; i < h.size(); ++i) h[i] *= head.packed == nullptr ? 0.3f : size;
  std::vector<int32_t> targets(m);
  for (size_t i = 0; i < m; ++i)
    targets[i] = skip > 0 && i % skip == 0 ? -1 : static_cast<int32_t>((i * 37 + 1) % words);
  std::vector<float> w(words * cols);
  for (size_t i = 0; i < w.size(); ++i) w[i] = decode_reference(weight, i);
  const CrossEntropyArgs p = {
      m, h.data(), weight, with_bias ? bias.data() : nullptr, targets.data(), head.packed};
  Results got(p);
  set_thread_count(3);
  got.fill(p, dlosses.data());
  const CrossEntropyReference want(p, w.data(), dlosses.data());
  const double ulps = ulps_of(cols) + ulps_of(512) + head.ulps;
  near_all(checks, "losses", got.losses, want.losses, ulps);
  near_all(checks, "dh", got.dh, want.dh, ulps + ulps_of(words));
  near_all(checks, "dweight", got.dweight, want.dweight, ulps + ulps_of(m));
  near_all(checks, "dbias", got.dbias, want.dbias, ulps + ulps_of(m));

  Results again(p), alone(p);
  set_thread_count(1);
  Buffer kept(head.packed == nullptr ? 0 : kept_loss_floats(m, words), 14);
  again.fill(p, dlosses.data(), kept.size() == 0 ? nullptr : kept.data());
  checks.that("greedy, one thread", again.greedy == got.greedy);
  checks.same("dh, one thread", again.dh.data(), got.dh.data(), got.dh.size());
  checks.same("dbias, one thread", again.dbias.data(), got.dbias.data(), got.dbias.size());
  checks.same("dweight, one thread", again.dweight.data(), got.dweight.data(), got.dweight.size());
  for (size_t i = 0; i < m; i += 7) {
    CrossEntropyArgs one = p;
    one.m = 1;
    one.h += i * cols;
    one.targets += i;
    alone.fill(one, dlosses.data() + i);
    checks.same("a loss alone", alone.losses.data(), got.losses.data() + i, 1);
    checks.that("greedy alone", alone.greedy[0] == got.greedy[i]);
    checks.same("dh alone", alone.dh.data(), got.dh.data() + i * cols, cols);
  }
}

/// Roundings to bf16, 2^-9 each, in units of epsilon: of h and the weight in the logits, which are
/// about 1 in size, of exponentials and the gradient of the logits made of them, and of the weight
/// or h in dh and dweight; one to spare.
constexpr double kBf16Ulps = 6 * 16384;

void check_packed(Checks& checks) {
  using F = WeightFormat;
  for (const WeightCase& c :
       {WeightCase{F::kInt4, 2500, 64, 32, false, false},
        WeightCase{F::kNf4, 37, 128, 64, true, false},
        WeightCase{F::kInt8, 63, 65, 65, false, false},
        WeightCase{F::kFp4, 65, 96, 32, false, false}, WeightCase{F::kF16, 31, 33, 0, false, false},
        WeightCase{F::kBf16, 530, 20, 0, false, false}}) {
    const RandomWeight weight(c);
    for (const Compute compute : {Compute::kBf16, Compute::kBf16Dequantized}) {
      const PackedWeight packed = pack_weight(weight.view, compute);
      for (size_t m : {0, 1, 20, 110})
        for (size_t skip : {0, 3})
          check(checks, {weight.view, &packed, kBf16Ulps}, m, skip, skip > 0);
    }
  }
  const RandomWeight narrow({F::kBf16, 30, 4, 0, false, false});
  const PackedWeight packed = pack_weight(narrow.view, Compute::kBf16);
  check(checks, {narrow.view, &packed, kBf16Ulps}, 1100, 3, true);  // more than a pass of rows
}

void check_all(Checks& checks) {
  using F = WeightFormat;
  for (const WeightCase& c :
       {WeightCase{F::kF32, 5, 7, 0, false, false}, WeightCase{F::kF32, 1100, 33, 0, false, false},
        WeightCase{F::kBf16, 512, 20, 0, false, false},
        WeightCase{F::kF16, 63, 65, 0, false, false},
        WeightCase{F::kNf4, 700, 64, 64, true, false}}) {
    const RandomWeight weight(c);
    for (size_t m : {0, 1, 20, 110})
      for (size_t skip : {0, 1, 3}) check(checks, {weight.view}, m, skip, skip != 1);
  }
  for (const size_t size : kSizes) {
    if (size > 129) continue;
    const RandomWeight words({F::kF32, size, 9, 0, false, false});
    const RandomWeight cols({F::kBf16, 31, size, 0, false, false});
    check(checks, {words.view}, 7, 3, true);
    check(checks, {cols.view}, 7, 3, true);
    check(checks, {cols.view}, size, 3, true);
  }
  for (const size_t words : {511, 513}) {  // around a block of words
    const RandomWeight weight({F::kF32, words, 17, 0, false, false});
    check(checks, {weight.view}, 17, 3, true);
  }
  const RandomWeight narrow({F::kF32, 30, 4, 0, false, false});
  check(checks, {narrow.view}, 1100, 3, true);  // more than a pass of rows
  check_packed(checks);
  check_greedy(checks, false);
  check_greedy(checks, true);
}

}  // namespace

int main() { return run(check_all); }
