#pragma once

#include <cstdint>

#include "cuda/emulator/tensor_map.h"

// The instructions of base/bulk_copy.h. A copy lands when no thread can go on without
// it, or at once where threads run in reverse: the first shows who does not wait for it, the second
// who still reads what it overwrites. What the hardware traps over, or waits for in vain, is a
// mistake here.

namespace llmkit::cuda {

void init_barrier(uint32_t barrier, uint32_t count);
void publish_barriers();
void arrive(uint32_t barrier);
void arrive_expecting(uint32_t barrier, uint32_t bytes);
void wait_barrier(uint32_t barrier, uint32_t parity);
void copy_bulk(uint32_t to, const void* from, uint32_t bytes, uint32_t barrier);
void copy_box(uint32_t to, const TensorMap& map, int column, int row, uint32_t barrier);

template <int kRegisters>
void give_registers() {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256);
}
template <int kRegisters>
void take_registers() {
  give_registers<kRegisters>();
}

}  // namespace llmkit::cuda
