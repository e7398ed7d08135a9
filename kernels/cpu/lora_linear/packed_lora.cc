#include "cpu/lora_linear/packed_lora.h"

#include <algorithm>

#include "base/parallel.h"
#include "base/scratch.h"
#include "cpu/packed/kernels.h"
#include "cpu/packed_dequantized/packed_dequantized.h"
#include "cpu/split/split.h"

namespace llmkit {
namespace {

size_t divide_up(size_t a, size_t b) { return (a + b - 1) / b; }

/// One call: a and b as the kernels want them, and what is made of rows of x.
class Forward {
 public:
  Forward(const LoraWeight& w, const LoraArgs& p)
      : w_(w),
        p_(p),
        kernels_(packed_kernels(*w.packed, p.m)),
        a_(split_rows({w.a, w.rank, w.weight.cols, w.weight.cols}, places(), 2, Scratch::kSplitA)) {
    if (kernels_.low_rank == nullptr) return;
    parts_.high = split_columns({w.b, w.weight.rows, w.rank, w.rank}, Scratch::kSplitB);
    const size_t block = kernels_.low_rank->row_block, stride = parts_.high.group_stride;
    const size_t all = divide_up(p.m, block) * block * stride;
    low_parts_ = reinterpret_cast<uint16_t*>(scratch(Scratch::kLowParts, divide_up(all, 2)));
    parts_.low = {p.m, stride, low_parts_};
  }

  void run() const {
    const auto low = [this](const PreparedRows& rows, size_t row, size_t count) {
      make_low(rows, row, count);
    };
    const size_t cols = w_.weight.cols;
    const bool whole = p_.dropped.data == p_.x.data;
    if (!whole) prepare_rows(*w_.packed, p_.m, p_.dropped, cols, low);
    const PreparedRows rows =
        prepare_rows(*w_.packed, p_.m, p_.x, cols, whole ? WithRows(low) : nullptr);
    const bool in_tiles = kernels_.low_rank != nullptr;
    if (in_tiles) prepare_low();
    const LowRank update = {w_.rank, p_.low, w_.b, 1, w_.rank, in_tiles ? &parts_ : nullptr};
    packed_multiply({w_.packed, p_.bias, p_.y, &update}, rows);
  }

 private:
  SplitPlaces places() const {
    const PackedWeight& w = *w_.packed;
    if (is_dequantized(w)) return {w.cols, dequantized_form(w).group_stride, false};
    return {w.group, w.group_stride, kernels_.code_order && w.code == PackedCode::kFourBit};
  }

  /// Rows [row, row + count) of low = scale · x · aᵀ.
  void make_low(const PreparedRows& rows, size_t row, size_t count) const {
    const size_t both = a_.rows, rank = w_.rank;
    float* const sums = scratch(Scratch::kLowSums, count * both);
    const auto product = count <= kernels_.few_rows ? kernels_.few : kernels_.many;
    product(a_, {rows, {row, count, 0, a_.tiles}, nullptr, sums, both});
    for (size_t i = 0; i < count; ++i) {
      const float* const sum = sums + i * both;
      float* const low = p_.low + (row + i) * rank;
      for (size_t r = 0; r < rank; ++r) low[r] = w_.scale * (sum[r] + sum[both / 2 + r]);
    }
  }
  /// The other factor of the update.
  void prepare_low() const {
    const size_t rank = w_.rank, stride = parts_.high.group_stride;
    const size_t block = kernels_.low_rank->row_block, blocks = divide_up(p_.m, block);
    parallel_for(blocks, grain_for(32 * block * stride), [&](size_t begin, size_t end) {
      float* const rows = scratch(Scratch::kLowSums, block * stride);
      std::fill_n(rows, block * stride, 0.0f);
      for (size_t row = begin * block; row < std::min(end * block, p_.m); row += block) {
        const size_t count = std::min(block, p_.m - row);
        for (size_t i = 0; i < count; ++i)
          split_row(rank, p_.low + (row + i) * rank, split_width(rank), rows + i * stride);
        kernels_.low_rank->prepare(parts_.high, {count, rows, stride, low_parts_ + row * stride,
                                                 nullptr, nullptr, nullptr});
      }
    });
  }

  const LoraWeight& w_;
  const LoraArgs& p_;
  const PackedKernels& kernels_;
  const PackedWeight a_;
  LowRankParts parts_;
  uint16_t* low_parts_ = nullptr;
};

}  // namespace

void packed_lora(const LoraWeight& w, const LoraArgs& p) {
  if (p.m > 0) Forward(w, p).run();
}

void packed_lora_grad(const LoraWeight& w, const LoraGradArgs& p) {
  if (p.m == 0) {  // no pass over rows writes them
    std::fill_n(p.da, w.rank * w.weight.cols, 0.0f);
    std::fill_n(p.db, w.rank * w.weight.rows, 0.0f);
    return;
  }
  const PackedGradPair pair = {w.rank, w.scale, w.a, w.b, p.dropped, p.low, p.da, p.db, p.ddropped};
  packed_grad_input(*w.packed, {p.m, p.dy, w.weight.rows, 0, w.packed->tiles, p.dx, false, &pair});
}

}  // namespace llmkit
