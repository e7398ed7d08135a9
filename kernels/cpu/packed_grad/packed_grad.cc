#include "cpu/packed_grad/packed_grad.h"

#include <algorithm>
#include <cstring>

#include "base/cpu_features.h"
#include "base/parallel.h"
#include "base/scratch.h"
#include "cpu/packed/packed.h"

namespace llmkit {
namespace {

const PackedGradKernels& kernels() {
#define PACKED_GRAD_KERNELS(isa, name) \
  if (runs_here(isa)) return name;
#include "cpu/packed_grad/kernels.inc"
#undef PACKED_GRAD_KERNELS
  __builtin_unreachable();  // the scalar kernels run everywhere
}

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
        padded_depth_(divide_up(depth_, kGradStep) * kGradStep),
        element_(kernels().element),
        blocks_(bytes_of(Scratch::kGradRows, divide_up(args.m, 16) * 16 * padded_depth_,
                         element_)) {}

  void run() const {
    pack_all();
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
  size_t width(size_t row) const { return std::min(divide_up(p_.m - row, 16) * 16, kGradRows); }
  uint8_t* block(size_t row, size_t n) const {
    return blocks_ + (row * padded_depth_ + n * width(row)) * element_;
  }

  void pack_all() const {
    const size_t blocks = divide_up(p_.m, kGradRows), pieces = divide_up(depth_, kGradDepth);
    parallel_for(blocks * pieces, grain_for(kGradRows * kGradDepth), [&](size_t begin, size_t end) {
      for (size_t task = begin; task < end; ++task) {
        const size_t row = task / pieces * kGradRows, n = task % pieces * kGradDepth;
        kernels().pack({p_.dy + row * p_.lddy + n, p_.lddy, std::min(kGradRows, p_.m - row),
                        width(row), std::min(kGradDepth, depth_ - n)},
                       block(row, n));
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
        kernels().product({divide_up(cols, 16) * 16, width(first + row),
                           divide_up(depth, kGradStep) * kGradStep, panel, block(first + row, n),
                           sums + row, ld, n > 0});
    }
    for (size_t row = 0; row < rows; row += 16)
      for (size_t i = 0; i < cols; i += kGradRows)
        store(sums + i * ld + row, ld, {col + i, std::min(kGradRows, cols - i), first + row});
  }

  struct Place {
    size_t col, cols, row;
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
      if (to < last)
        put(values + i - place.col, to, std::min(next - i, last - to), place.row);
      i = next;
    }
  }

  /// `count` columns of 16 rows of dx, or of those that are left.
  void put(const float* values, size_t col, size_t count, size_t first) const {
    for (size_t row = first; row < std::min(first + 16, p_.m); ++row, values += kGradRows) {
      float* const dx = p_.dx + row * weight_.cols + col;
      if (p_.accumulate)
        for (size_t i = 0; i < count; ++i) dx[i] += values[i];
      else
        std::memcpy(dx, values, count * sizeof(float));
    }
    if (p_.update != nullptr)
      add_low_rank(*p_.update, {first, std::min<size_t>(16, p_.m - first), col, count,
                                p_.dx + first * weight_.cols + col, weight_.cols});
  }

  const PackedWeight& weight_;
  const PackedGradArgs& p_;
  const size_t depth_, padded_depth_, element_;
  uint8_t* const blocks_;
};

}  // namespace

void packed_grad_input(const PackedWeight& weight, const PackedGradArgs& args) {
  if (args.m == 0) return;
  Gradient(weight, args).run();
}

}  // namespace llmkit
