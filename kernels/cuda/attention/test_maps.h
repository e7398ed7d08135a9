#pragma once

#include <vector>

#include "cuda/attention/tile_maps.h"
#include "cuda/testing/fragments.h"
#include "cuda/testing/testing.h"

// Where the values of tiles lie: in shared memory each in a place of its own, in registers those
// that the matrix instruction wants.

namespace llmkit::cuda::testing {

template <int kE>
void check_shared_rows(Checks& checks) {
  using Rows = SharedRows<kE>;
  for (const int rows : {1, 5, 16, 63, 128}) {
    std::vector<bool> used(Rows::bytes(rows) / 16);
    for (int row = 0; row < rows; ++row)
      for (int chunk = 0; chunk < Rows::kChunks; ++chunk) {
        const size_t at = Rows::at(row, chunk);
        if (at % 16 != 0 || at / 16 >= used.size() || used[at / 16])
          return checks.that("a place of its own", false);
        used[at / 16] = true;
      }
  }
  for (int first = 0; first < 24; ++first)
    for (int chunk = 0; chunk < Rows::kChunks; ++chunk) {
      int banks = 0;
      for (int row = first; row < first + 8; ++row) banks |= 1 << Rows::at(row, chunk) / 16 % 8;
      checks.that("rows in different banks", banks == 255);
    }
}

/// What a lane's registers hold after the loads that multiply_rows and its like make.
inline void check_operands(Checks& checks) {
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i)
      for (int e = 0; e < 2; ++e) {
        const LoadedElement plain = loaded(lane, i, e, false), turned = loaded(lane, i, e, true);
        const OperandPlace rows = {operand_row(plain.lane),
                                   operand_chunk(plain.lane) * 8 + plain.column};
        checks.that("A of [row][k]", rows == operand_a(lane, i, e));
        const OperandPlace columns = {columns_row(plain.lane),
                                      columns_chunk(plain.lane) * 8 + plain.column};
        checks.that("B of [column][k]", columns == operands_b(lane, i, e));
        const OperandPlace across = {operand_chunk(turned.lane) * 8 + turned.column,
                                     operand_row(turned.lane)};
        checks.that("B of [k][column]", across == operands_b(lane, i, e));
      }
}

/// The registers of a result, packed in pairs, are those of the A of the product after it.
inline void check_results(Checks& checks) {
  std::vector<bool> used(16 * 8);
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i) {
      const int row = tile_row(lane) + i / 2 * 8, column = tile_column(lane) + i % 2;
      checks.that("a result of its own", !used[row * 8 + column]);
      used[row * 8 + column] = true;
      const OperandPlace place = {row, column};
      checks.that("as A has it", place == operand_a(lane, i / 2, i % 2));
    }
}

inline void check_maps(Checks& checks) {
  check_shared_rows<16>(checks);
  check_shared_rows<64>(checks);
  check_shared_rows<80>(checks);
  check_shared_rows<96>(checks);
  check_shared_rows<128>(checks);
  check_shared_rows<256>(checks);
  check_operands(checks);
  check_results(checks);
}

}  // namespace llmkit::cuda::testing
