#pragma once

#include <algorithm>

#include "base/simd/amx.h"
#include "base/simd/loops.h"
#include "cpu/packed/amx_low_rank.h"
#include "cpu/packed/kernels.h"

// Results of products in tile registers, on their way between memory of the thread and y: include
// base/simd/avx512.h first.

namespace llmkit {
namespace {  // a copy per file: built with its flags

/// Rows of x and columns of y of a block of results in memory of the thread, each row `ld` floats
/// after the one before. Those that the range does not have are left out.
struct ResultBlock {
  float* values;
  size_t ld, row, rows, col, cols;
};

class Results {
 public:
  Results(const PackedWeight& weight, const PackedProductArgs& args)
      : args_(args),
        end_{args.range.first + args.range.count,
             std::min((args.range.tile + args.range.tiles) * 16, weight.rows)},
        past_caches_(args.past_caches && args.ldy % (args.halves == nullptr ? 16 : 32) == 0 &&
                     reinterpret_cast<uintptr_t>(args.y) % 64 == 0 &&
                     reinterpret_cast<uintptr_t>(args.halves) % 64 == 0) {}
  /// What was written past the caches is there for other threads.
  ~Results() { _mm_sfence(); }
  Results(const Results&) = delete;
  Results& operator=(const Results&) = delete;

  void load(const ResultBlock& block) const {
    each_row(block, [&](size_t row, size_t cols, float* values) {
      const float* const y = at(row, block.col);
      for (size_t i = 0; i < cols; i += 16)
        llmkit::store(values + i, load_partial(y + i, std::min<size_t>(16, cols - i)));
    });
  }

  /// @param last whether nothing will be added to the sums: they get the bias and the update. A y
  /// in
  ///   bf16 is stored only then.
  void store(const ResultBlock& block, bool last) const {
    if (last) finish(block);
    if (args_.halves != nullptr) return store_rounded(block);
    const bool past_caches = last && past_caches_;
    each_row(block, [&](size_t row, size_t cols, const float* values) {
      float* const y = at(row, block.col);
      size_t i = 0;
      for (; i + 16 <= cols; i += 16) {
        if (past_caches)
          _mm512_stream_ps(y + i, llmkit::load(values + i).v);
        else
          llmkit::store(y + i, llmkit::load(values + i));
      }
      if (i < cols) store_partial(y + i, llmkit::load(values + i), cols - i);
    });
  }

 private:
  size_t place(size_t row, size_t col) const {
    return (row - args_.range.first) * args_.ldy + (col - args_.range.tile * 16);
  }
  float* at(size_t row, size_t col) const { return args_.y + place(row, col); }

  void store_rounded(const ResultBlock& block) const {
    each_row(block, [&](size_t row, size_t cols, const float* values) {
      uint16_t* const y = args_.halves + place(row, block.col);
      size_t i = 0;
      for (; i + 32 <= cols && past_caches_; i += 32) {
        alignas(64) uint16_t line[32];
        store_halves(line, halves_of(llmkit::load(values + i)));
        store_halves(line + 16, halves_of(llmkit::load(values + i + 16)));
        _mm512_stream_si512(reinterpret_cast<__m512i*>(y + i), _mm512_load_si512(line));
      }
      each_chunk(cols - i, [&](auto c) { c.put(y + i, c.get(values + i)); });
    });
  }
  template <typename Body>
  void each_row(const ResultBlock& block, Body body) const {
    const size_t cols = std::min(block.cols, end_.col - block.col);
    const size_t first = std::max(block.row, args_.range.first);
    for (size_t row = first; row < std::min(block.row + block.rows, end_.row); ++row)
      body(row, cols, block.values + (row - block.row) * block.ld);
  }
  void finish(const ResultBlock& block) const {
    if (args_.bias != nullptr)
      each_row(block, [&](size_t, size_t cols, float* values) {
        for (size_t i = 0; i < cols; i += 16) {
          const Vec bias = load_partial(args_.bias + block.col + i, std::min<size_t>(16, cols - i));
          llmkit::store(values + i, add(llmkit::load(values + i), bias));
        }
      });
    if (args_.update == nullptr) return;
    const size_t first = std::max(block.row, args_.range.first);
    const size_t end = std::min(block.row + block.rows, end_.row);
    if (first >= end) return;
    if (args_.update->parts != nullptr)
      return add_parts(*args_.update->parts,
                       {block.row, block.rows, block.col, block.cols, block.values, block.ld});
    const KeepSubnormals keep;  // LoRA's sums are float32's, whatever the product's are
    add_low_rank(*args_.update,
                 {first, end - first, block.col, std::min(block.cols, end_.col - block.col),
                  block.values + (first - block.row) * block.ld, block.ld});
  }

  const PackedProductArgs& args_;
  const struct { size_t row, col; } end_;
  const bool past_caches_;
};

}  // namespace
}  // namespace llmkit
