#include <vector>

#include "cuda/gemm_bf16/tile_place.h"
#include "cuda/testing/fragments.h"
#include "cuda/testing/testing.h"

// Where the elements of tiles lie. The products are tested in cuda/rounded.

using namespace llmkit::cuda;
using namespace llmkit::cuda::testing;

namespace {

template <int kWidth, bool kAcross>
void check_places(Checks& checks) {
  using Place = Bf16TilePlace<kWidth, kAcross>;
  constexpr int kRows = kAcross ? kBf16Depth : kWidth;
  std::vector<int> chunk_at(Place::kChunks, -1);
  for (int row = 0; row < kRows; ++row)
    for (int chunk = 0; chunk < Place::kRowChunks; ++chunk) {
      const int at = Place::offset(row, chunk);
      if (at % 16 != 0 || at < 0 || at >= Place::kBytes || chunk_at[at / 16] >= 0)
        return checks.that("a place of its own", false);
      chunk_at[at / 16] = row * Place::kRowChunks + chunk;
    }
  for (int i = 0; i < kWidth; i += 16)
    for (int step = 0; step < kBf16Depth / 16; ++step)
      for (const bool is_a : {true, false})
        for (int lane = 0; lane < 32; ++lane)
          for (int r = 0; r < 8; ++r) {
            const LoadedElement from = loaded(lane, r / 2, r % 2, kAcross);
            const int at = Place::of_lane(from.lane, i, step, is_a ? 0 : 1, is_a ? 1 : 0);
            const int row = chunk_at[at / 16] / Place::kRowChunks;
            const int in_row = chunk_at[at / 16] % Place::kRowChunks * 8 + from.column;
            OperandPlace want = is_a ? operand_a(lane, r / 2, r % 2)  //
                                     : operands_b(lane, r / 2, r % 2);
            want.i += i;
            want.k += 16 * step;
            const OperandPlace got = {kAcross ? in_row : row, kAcross ? row : in_row};
            checks.that("the fragment's element", got == want);
          }
}

/// The eight rows of a block that ldmatrix reads at a time lie in different banks.
template <int kWidth, bool kAcross>
void check_banks(Checks& checks) {
  using Place = Bf16TilePlace<kWidth, kAcross>;
  for (int i = 0; i < kWidth; i += 16)
    for (int matrix = 0; matrix < 32; matrix += 8) {
      int banks = 0;
      for (int lane = matrix; lane < matrix + 8; ++lane)
        banks |= 1 << Place::of_lane(lane, i, 1, 0, 1) / 16 % 8;
      checks.that("no conflicts", banks == 255);
    }
}

template <int kWidth>
void check_width(Checks& checks) {
  check_places<kWidth, false>(checks);
  check_places<kWidth, true>(checks);
  check_banks<kWidth, false>(checks);
  check_banks<kWidth, true>(checks);
}

void check_all(Checks& checks) {
  check_width<64>(checks);
  check_width<128>(checks);
}

}  // namespace

int main() { return run_on_device(check_all); }
