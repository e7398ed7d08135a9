#include "cpu/packed_grad/packed_grad.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/cpu_features.h"
#include "base/parallel.h"
#include "base/scratch.h"
#include "cpu/packed/packed.h"
#include "cpu/packed_grad/pair.h"

namespace llmkit {

const PackedGradKernels& packed_grad_kernels() {
#define PACKED_GRAD_KERNELS(isa, name) \
  if (runs_here(isa)) return name;
#include "cpu/packed_grad/kernels.inc"
#undef PACKED_GRAD_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

namespace {

const PackedGradKernels& kernels() { return packed_grad_kernels(); }

/// Rows of dy that share a decoded panel: their sums of a strip stay in the second-level cache.
constexpr size_t kRowsPerTask = 512;

size_t divide_up(size_t a, size_t b) { return (a + b - 1) / b; }

/// Scratch of `count` elements of a kernel's own.
uint8_t* bytes_of(Scratch slot, size_t count, size_t element) {
  return reinterpret_cast<uint8_t*>(scratch(slot, divide_up(count * element, sizeof(float))));
}

/// One call: dy packed by blocks of kGradRows rows, then the strips of columns of dx.
class Gradient {
 public:
  Gradient(const PackedWeight& weight, const PackedGradArgs& args)
      : weight_(weight),
        p_(args),
        depth_(std::min(args.tiles * 16, weight.rows - args.tile * 16)),
        element_(kernels().element),
        dy_(blocks_of(args.m, divide_up(depth_, kGradStep) * kGradStep, element_)) {}

  void run() {
    if (p_.pair == nullptr)
      pack_all();
    else
      pair_.emplace(weight_, p_, dy_).run();
    const size_t cols = strip_cols(), strips = divide_up(weight_.padded_cols(), cols);
    const size_t parts = divide_up(p_.m, kRowsPerTask);
    const size_t work = 2 * cols * depth_ * std::min(p_.m, kRowsPerTask) / 64;
    parallel_for(strips * parts, grain_for(work), [&](size_t begin, size_t end) {
      for (size_t task = begin; task < end; ++task) {
        const size_t col = task / parts * cols;
        strip(col, std::min(cols, weight_.padded_cols() - col), task % parts * kRowsPerTask);
      }
    });
  }

 private:
  /// Wide strips read dy less often; there are two for every thread.
  size_t strip_cols() const {
    const size_t share = divide_up(weight_.padded_cols(), 2 * thread_count());
    return std::clamp<size_t>(divide_up(share, 32) * 32, 64, kGradCols);
  }
  static GradBlocks blocks_of(size_t m, size_t depth, size_t element) {
    return {bytes_of(Scratch::kGradRows, GradBlocks::bytes(m, depth, element), 1), m, depth,
            element};
  }

  void pack_all() const {
    const size_t blocks = divide_up(p_.m, kGradRows), pieces = divide_up(depth_, kGradDepth);
    parallel_for(blocks * pieces, grain_for(kGradRows * kGradDepth), [&](size_t begin, size_t end) {
      for (size_t task = begin; task < end; ++task) {
        const size_t row = task / pieces * kGradRows, n = task % pieces * kGradDepth;
        kernels().pack({p_.dy.from(row * p_.lddy + n), p_.lddy, std::min(kGradRows, p_.m - row),
                        dy_.width(row), std::min(kGradDepth, depth_ - n)},
                       dy_.at(row, n));
      }
    });
  }

  /// Columns [col, col + cols) of dx, counted with the padding, for rows from `first`.
  void strip(size_t col, size_t cols, size_t first) const {
    const size_t rows = std::min(p_.m - first, kRowsPerTask), ld = divide_up(rows, 16) * 16;
    uint8_t* const panel = bytes_of(Scratch::kDecoded, kGradCols * kGradDepth, element_);
    float* const sums = scratch(Scratch::kScores, kGradCols * ld);
    for (size_t n = 0; n < depth_; n += kGradDepth) {
      const size_t depth = std::min(kGradDepth, depth_ - n);
      kernels().decode(weight_, {col, cols, p_.tile + n / 16, divide_up(depth, 16)}, panel);
      for (size_t row = 0; row < rows; row += kGradRows)
        kernels().product({divide_up(cols, 16) * 16, dy_.width(first + row),
                           divide_up(depth, kGradStep) * kGradStep, panel, dy_.at(first + row, n),
                           sums + row, ld, n > 0});
    }
    const GradStrip strip = {col, cols, first, rows, sums, ld};
    if (p_.pair != nullptr && p_.pair->dx == nullptr) pair_->add(strip, true);
    store(strip, p_.dx);
    if (p_.pair == nullptr || p_.pair->dx == nullptr) return;
    pair_->add(strip, false);
    store(strip, p_.pair->dx);
  }

  void store(const GradStrip& s, float* dx) const {
    for (size_t row = 0; row < s.rows; row += 16)
      for (size_t i = 0; i < s.cols; i += kGradRows)
        store(s.sums + i * s.ld + row, s.ld,
              {s.col + i, std::min(kGradRows, s.cols - i), s.first + row, dx});
  }

  struct Place {
    size_t col, cols, row;
    float* dx;
  };
  /// At most 16 rows by kGradRows columns of dx, from sums [cols, ld].
  void store(const float* sums, size_t ld, const Place& place) const {
    alignas(64) float values[16 * kGradRows];
    for (size_t i = 0; i < place.cols; i += 16) kernels().transpose(sums + i * ld, ld, values + i);
    const size_t end = place.col + place.cols;
    for (size_t i = place.col; i < end;) {
      const size_t group = i / weight_.group_stride, skip = i % weight_.group_stride;
      const size_t next = std::min(end, (group + 1) * weight_.group_stride);
      const size_t to = group * weight_.group + skip;
      const size_t last = std::min((group + 1) * weight_.group, weight_.cols);
      if (to < last) put(values + i - place.col, to, std::min(next - i, last - to), place);
      i = next;
    }
  }

  /// `count` columns of 16 rows of dx, or of those that are left.
  void put(const float* values, size_t col, size_t count, const Place& place) const {
    const size_t end = std::min(place.row + 16, p_.m);
    for (size_t row = place.row; row < end; ++row, values += kGradRows) {
      float* const dx = place.dx + row * weight_.cols + col;
      if (p_.accumulate)
        for (size_t i = 0; i < count; ++i) dx[i] += values[i];
      else
        std::memcpy(dx, values, count * sizeof(float));
    }
  }

  const PackedWeight& weight_;
  const PackedGradArgs& p_;
  const size_t depth_, element_;
  const GradBlocks dy_;
  std::optional<PairGradient> pair_;
};

}  // namespace

void packed_grad_input(const PackedWeight& weight, const PackedGradArgs& args) {
  if (args.m == 0) return;
  Gradient(weight, args).run();
}

}  // namespace llmkit
