#include <algorithm>
#include <cmath>
#include <vector>

#include "base/bf16.h"
#include "cpu/packed/reference.h"
#include "cuda/packed/packed.h"
#include "cuda/packed/test_weight.h"

using namespace llmkit;
using namespace llmkit::cuda::testing;
using Code = cuda::PackedCode;

namespace {

const Code kCodes[] = {Code::kInt4, Code::kTable, Code::kInt8, Code::kBf16};

int bits_of(Code code) { return 4 * cuda::planes_of(code); }

/// Every element has bits of its own, all within the tiles.
void check_places(Checks& checks, Code code, size_t rows, size_t columns) {
  const size_t tiles = columns / cuda::kTileColumns, units = 32 / bits_of(code);
  std::vector<uint8_t> seen(rows * columns);
  for (size_t n = 0; n < rows; ++n)
    for (size_t k = 0; k < columns; ++k) {
      const cuda::PackedPlace place = cuda::packed_place(code, n, k, tiles);
      const size_t unit = place.word * units + static_cast<size_t>(place.bit / bits_of(code));
      checks.that("whole units", place.bit % bits_of(code) == 0 && place.bit < 32);
      checks.that("within the tiles", unit < seen.size());
      if (unit < seen.size()) checks.that("once", seen[unit]++ == 0);
    }
}

void check_maps(Checks& checks) {
  for (int i = 0; i < 32; ++i) {
    const cuda::ChunkIndex row = cuda::chunk_of_row(i);
    checks.that("rows", cuda::chunk_row(row.chunk, row.element) == i);
    checks.that("scales", cuda::scale_slot(i) == 4 * row.chunk + row.element);
  }
  for (int i = 0; i < 64; ++i) {
    const cuda::ChunkIndex column = cuda::chunk_of_column(i);
    checks.that("columns", cuda::chunk_column(column.chunk, column.element) == i);
    const int chunk = cuda::chunk_in_slot(i);
    checks.that("slots", cuda::chunk_slot(chunk >> 3, chunk & 7) == i);
  }
}

void check_slices(Checks& checks) {
  for (int tiles = 1; tiles < 70; ++tiles)
    for (int per_group : {1, 2}) {
      checks.that("from the first", cuda::slice_begin(0, tiles, per_group) == 0);
      checks.that("to the last", cuda::slice_begin(cuda::kSlices, tiles, per_group) == tiles);
      for (int i = 0; i < cuda::kSlices; ++i) {
        const int begin = cuda::slice_begin(i, tiles, per_group);
        checks.that("ascending", begin <= cuda::slice_begin(i + 1, tiles, per_group));
        checks.that("whole groups", begin % per_group == 0 || begin == tiles);
      }
    }
}

/// 16-byte reads of shared memory are served 8 lanes at a time: all must be in different banks.
void check_banks(Checks& checks) {
  for (int half = 0; half < 2; ++half)
    for (int first = 0; first < 32; first += 8)
      for (bool gradient : {false, true}) {
        int banks = 0;
        for (int lane = first; lane < first + 8; ++lane) {
          const int g = lane / 4, t = lane % 4 + 4 * half;
          banks |= 1 << (gradient ? cuda::chunk_slot(t, g) : cuda::chunk_slot(g, t)) % 8;
        }
        checks.that("no conflicts", banks == 255);
      }
}

/// The operands of mma.m16n8k16 as the PTX ISA has them, and the product that it makes.
struct Fragments {
  double a[32][4][2], b[32][2][2], c[32][4];
};
void multiply(Fragments& f) {
  double a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane)
    for (int e = 0; e < 2; ++e) {
      const int g = lane / 4, t = lane % 4;
      for (int r = 0; r < 4; ++r) a[g + 8 * (r & 1)][2 * t + e + 8 * (r >> 1)] = f.a[lane][r][e];
      for (int r = 0; r < 2; ++r) b[2 * t + e + 8 * r][g] = f.b[lane][r][e];
    }
  for (int lane = 0; lane < 32; ++lane)
    for (int c = 0; c < 4; ++c)
      for (int x = 0; x < 16; ++x)
        f.c[lane][c] += a[lane / 4 + 8 * (c >> 1)][x] * b[x][2 * (lane % 4) + (c & 1)];
}

/// Element (i, j) of a chunk of one packed tile, as a number.
double element(Code code, const std::vector<uint32_t>& tile, int P, int Q, int i, int j) {
  const cuda::ChunkPlace place = cuda::place_in_chunk(code, i, j);
  const size_t word =
      static_cast<size_t>(place.plane) * 256 + cuda::chunk_slot(P, Q) * 4 + place.word;
  return tile[word] >> place.bit & ((1u << bits_of(code)) - 1);
}

/// A tile of random codes, packed.
struct Tile {
  Tile(Code code, unsigned seed) : values(32 * 64), packed(256 * cuda::planes_of(code)) {
    const std::vector<uint8_t> bytes = random_bytes(32 * 64, seed);
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = bytes[i] & ((1u << std::min(8, bits_of(code))) - 1);
      const cuda::PackedPlace place = cuda::packed_place(code, i / 64, i % 64, 1);
      packed[place.word] |= values[i] << place.bit;
    }
  }
  std::vector<uint32_t> values, packed;
};

/// y [8, 32] = x [8, 64] · tileᵀ by the lanes' chunks (g, t) and (g, t + 4).
void check_forward(Checks& checks, Code code) {
  const Tile tile(code, 1);
  const Buffer x(8 * 64, 2);
  std::vector<double> y(8 * 32);
  for (int step = 0; step < 4; ++step)
    for (int b = 0; b < 2; ++b) {
      Fragments f = {};
      for (int lane = 0; lane < 32; ++lane)
        for (int e = 0; e < 2; ++e) {
          const int g = lane / 4, t = lane % 4, Q = t + 4 * (step / 2);
          for (int r = 0; r < 4; ++r)
            f.a[lane][r][e] = element(code, tile.packed, g, Q, 2 * b + (r & 1),
                                      4 * (step % 2) + 2 * (r >> 1) + e);
          for (int r = 0; r < 2; ++r) f.b[lane][r][e] = x[g * 64 + 16 * step + 2 * t + e + 8 * r];
        }
      multiply(f);
      for (int lane = 0; lane < 32; ++lane)
        for (int c = 0; c < 4; ++c)
          y[(2 * (lane % 4) + (c & 1)) * 32 + cuda::chunk_row(lane / 4, 2 * b + (c >> 1))] +=
              f.c[lane][c];
    }
  for (int m = 0; m < 8; ++m)
    for (int n = 0; n < 32; ++n) {
      double want = 0;
      for (int k = 0; k < 64; ++k)
        want += static_cast<double>(x[m * 64 + k]) * tile.values[n * 64 + k];
      checks.that("forward fragments", std::fabs(want - y[m * 32 + n]) < 1e-9);
    }
}

/// dx [8, 64] = dy [8, 32] · tile by the lanes' chunks (t, g) and (t + 4, g).
void check_gradient(Checks& checks, Code code) {
  const Tile tile(code, 3);
  const Buffer dy(8 * 32, 4);
  std::vector<double> dx(8 * 64);
  for (int half = 0; half < 2; ++half)
    for (int b = 0; b < 4; ++b) {
      Fragments f = {};
      for (int lane = 0; lane < 32; ++lane)
        for (int e = 0; e < 2; ++e) {
          const int g = lane / 4, t = lane % 4;
          for (int r = 0; r < 4; ++r)
            f.a[lane][r][e] =
                element(code, tile.packed, t + 4 * half, g, 2 * (r >> 1) + e, 2 * b + (r & 1));
          for (int r = 0; r < 2; ++r) f.b[lane][r][e] = dy[g * 32 + 16 * half + 2 * t + e + 8 * r];
        }
      multiply(f);
      for (int lane = 0; lane < 32; ++lane)
        for (int c = 0; c < 4; ++c)
          dx[(2 * (lane % 4) + (c & 1)) * 64 + cuda::chunk_column(lane / 4, 2 * b + (c >> 1))] +=
              f.c[lane][c];
    }
  for (int m = 0; m < 8; ++m)
    for (int k = 0; k < 64; ++k) {
      double want = 0;
      for (int n = 0; n < 32; ++n)
        want += static_cast<double>(dy[m * 32 + n]) * tile.values[n * 64 + k];
      checks.that("gradient fragments", std::fabs(want - dx[m * 64 + k]) < 1e-9);
    }
}

/// What products are to see in place of an element: the stored value, nf4 and fp4 with the code's
/// value in bf16, or all of it in bf16 where the groups could not be kept.
float expected(const WeightView& view, const cuda::PackedWeight& w, size_t element) {
  if (w.code == Code::kBf16) return from_bf16(to_bf16(decode_reference(view, element)));
  if (w.code != Code::kTable) return decode_reference(view, element);
  WeightView ones = view;
  const std::vector<float> scales(element / view.group_size + 1, 1.0f);
  ones.scales = scales.data();
  ones.nested = {};
  WeightView codes = view;  // the scale is the value of an element of code 1
  const std::vector<uint8_t> table(element / 2 + 1, view.format == WeightFormat::kNf4 ? 255 : 51);
  codes.codes = table.data();
  return from_bf16(to_bf16(decode_reference(ones, element))) * decode_reference(codes, element);
}

void check_packed(Checks& checks, const WeightCase& c) {
  const RandomWeight weight(c);
  const DeviceWeight packed(weight.view);
  const cuda::PackedWeight& w = packed.weight();
  const std::vector<float> got = packed.unpacked();
  for (size_t i = 0; i < got.size(); ++i) {
    const float want = expected(weight.view, w, i);
    checks.same("value", &got[i], &want, 1);
  }
  const bool whole_rows = c.group_size == c.cols;
  const bool kept =
      c.group_size > 0 && c.cols % c.group_size == 0 && (c.group_size % 32 == 0 || whole_rows);
  checks.that("groups are kept", (w.code != Code::kBf16) == kept);
}

void check_scale_types(Checks& checks) {
  WeightView view;
  view.format = WeightFormat::kInt4;
  view.rows = 2;
  view.cols = 64;
  view.group_size = 32;
  const auto type_of = [&](std::vector<float> scales) {
    view.scales = scales.data();
    return cuda::exact_scale_type(view);
  };
  checks.that("f16", type_of({0x1.554p-5f, 65504, 0x1p-24f, -0x1.8p-23f}) == ScaleType::kF16);
  checks.that("bf16", type_of({0, 1, -0.5f, 0x1.fep60f}) == ScaleType::kBf16);
  checks.that("too fine", type_of({1, 1, 1, 0x1.002p0f}) == ScaleType::kF32);
  checks.that("too large", type_of({1, 0x1.004p0f, 1, 65536}) == ScaleType::kF32);
  checks.that("too small", type_of({1, 0x1.004p0f, 1, 0x1p-25f}) == ScaleType::kF32);
  checks.that("half a step", type_of({1, 0x1.004p0f, 1, 0x1.8p-24f}) == ScaleType::kF32);
}

void check_all(Checks& checks) {
  check_maps(checks);
  check_slices(checks);
  check_banks(checks);
  for (Code code : kCodes) {
    check_places(checks, code, 32, 64);
    check_places(checks, code, 96, 192);
    check_forward(checks, code);
    check_gradient(checks, code);
  }
  for (const WeightCase& c : packed_cases()) check_packed(checks, c);
  for (const WeightCase& c : packed_shapes()) check_packed(checks, c);
  check_scale_types(checks);
}

}  // namespace

int main() { return run_on_device(check_all); }
