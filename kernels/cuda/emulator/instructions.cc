#include "cuda/emulator/instructions.h"

#include <cstdlib>
#include <cstring>

#include "cuda/emulator/block.h"
#include "cuda/emulator/float16.h"
#include "cuda/emulator/schedule.h"
#include "cuda/emulator/warpgroup.h"

namespace llmkit::cuda {

namespace {

void land(const emulator::Copy& copy) {
  std::memcpy(copy.to, copy.from, copy.bytes);
  std::memset(copy.to + copy.bytes, 0, 16 - copy.bytes);
  emulator::shared_memory().note_written(copy.to, emulator::thread_of_block());
}

void queue_copy(uint32_t to, const void* from, unsigned bytes) {
  if (reinterpret_cast<uintptr_t>(from) % 16 != 0)
    emulator::fail("cp.async from %p, which is not aligned to 16 bytes", from);
  char* const place = emulator::shared_memory().at(to, 16);
  const emulator::Copy copy = {place, static_cast<const char*>(from), bytes};
  if (emulator::schedule_order == emulator::Order::kReverse)
    land(copy);
  else
    emulator::copies_of_thread().copies.push_back(copy);
}

template <class T>
T load(uint32_t address) {
  T value;
  std::memcpy(&value, emulator::shared_memory().at(address, sizeof(T)), sizeof(T));
  return value;
}

}  // namespace

void copy_async(uint32_t to, const void* from) { queue_copy(to, from, 16); }
void copy_async_or_zero(uint32_t to, const void* from, bool valid) {
  queue_copy(to, from, valid ? 16 : 0);
}

void commit_copies() {
  emulator::Copies& mine = emulator::copies_of_thread();
  mine.group_ends.push_back(mine.copies.size());
}

uint4 load_shared_16(uint32_t address) { return load<uint4>(address); }
uint2 load_shared_8(uint32_t address) { return load<uint2>(address); }
uint32_t load_shared_4(uint32_t address) { return load<uint32_t>(address); }
void store_shared_4(uint32_t address, uint32_t value) {
  std::memcpy(emulator::shared_memory().at(address, 4), &value, 4);
}

namespace emulator {

bool warpgroups_differ = [] {
  const char* const bits = std::getenv("LLMKIT_EMULATED_WARPGROUPS");
  return bits != nullptr && std::strcmp(bits, "other") == 0;
}();

void wait_copies(size_t pending) {
  Copies& mine = copies_of_thread();
  if (mine.group_ends.size() <= pending) return;
  const size_t groups = mine.group_ends.size() - pending, end = mine.group_ends[groups - 1];
  for (size_t i = 0; i < end; ++i) land(mine.copies[i]);
  mine.copies.erase(mine.copies.begin(), mine.copies.begin() + static_cast<ptrdiff_t>(end));
  mine.group_ends.erase(mine.group_ends.begin(),
                        mine.group_ends.begin() + static_cast<ptrdiff_t>(groups));
  for (size_t& group_end : mine.group_ends) group_end -= end;
}

namespace {

struct MatrixLoad {
  const char* row;  // 16 bytes: of matrix lane / 8, row lane % 8
  uint32_t* r;
};

/// Lane l gets of every matrix the pair (l / 4, 2 (l % 4)) and its right neighbour.
template <bool kTransposed>
void load_together(void* const* payloads, unsigned) {
  for (unsigned matrix = 0; matrix < 4; ++matrix)
    for (unsigned lane = 0; lane < 32; ++lane) {
      uint16_t pair[2];
      for (unsigned i = 0; i < 2; ++i) {
        const unsigned row = lane / 4, column = 2 * (lane % 4) + i;
        const unsigned from = 8 * matrix + (kTransposed ? column : row);
        const char* const begin = static_cast<const MatrixLoad*>(payloads[from])->row;
        std::memcpy(&pair[i], begin + 2 * (kTransposed ? row : column), 2);
      }
      std::memcpy(&static_cast<MatrixLoad*>(payloads[lane])->r[matrix], pair, 4);
    }
}

struct Product {
  float* c;
  const uint32_t *a, *b;
};

float half_of(uint32_t pair, unsigned i, Float16 type) {
  const uint16_t bits = static_cast<uint16_t>(pair >> (16 * i));
  return type == Float16::kBf16 ? bf16_value(bits) : half_value(bits);
}

/// A row of b or c: the compiler adds its values side by side.
using Row = float __attribute__((vector_size(32)));

/// mma.m16n8k16, with g = lane / 4 and t = lane % 4. a0..a3 hold rows g, g+8, g, g+8 and columns
/// 2t, 2t, 2t+8, 2t+8 with their right neighbours; b0, b1 rows 2t, 2t+8 with the next, column g; c
/// rows g, g, g+8, g+8 and columns 2t, 2t+1, 2t, 2t+1. The sum is a chain over k in float32; that
/// of the hardware keeps other bits on the way.
template <Float16 kType>
void multiply_together(void* const* payloads, unsigned) {
  float a[16][16];
  Row b[16], c[16];
  for (unsigned lane = 0; lane < 32; ++lane) {
    const Product& p = *static_cast<const Product*>(payloads[lane]);
    const unsigned g = lane / 4, t = lane % 4;
    for (unsigned i = 0; i < 2; ++i) {
      for (unsigned j = 0; j < 4; ++j)
        a[g + 8 * (j % 2)][2 * t + 8 * (j / 2) + i] = half_of(p.a[j], i, kType);
      for (unsigned j = 0; j < 2; ++j) b[2 * t + 8 * j + i][g] = half_of(p.b[j], i, kType);
      for (unsigned j = 0; j < 2; ++j) c[g + 8 * j][2 * t + i] = p.c[2 * j + i];
    }
  }
  for (unsigned m = 0; m < 16; ++m) {
    Row sum = c[m];
    for (unsigned k = 0; k < 16; ++k) sum += a[m][k] * b[k];
    c[m] = sum;
  }
  for (unsigned lane = 0; lane < 32; ++lane) {
    const Product& p = *static_cast<const Product*>(payloads[lane]);
    for (unsigned i = 0; i < 4; ++i) p.c[i] = c[lane / 4 + 8 * (i / 2)][2 * (lane % 4) + i % 2];
  }
}

}  // namespace

void load_matrices(uint32_t (&r)[4], uint32_t row, bool transposed, Site site) {
  MatrixLoad mine = {shared_memory().at(row, 16), r};
  meet(~0u, transposed ? load_together<true> : load_together<false>, &mine, site);
}

void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, Float16 type,
                  Site site) {
  const uint32_t b[2] = {b0, b1};
  Product mine = {c, a, b};
  meet(~0u,
       type == Float16::kBf16 ? multiply_together<Float16::kBf16>
                              : multiply_together<Float16::kHalf>,
       &mine, site);
}

}  // namespace emulator

}  // namespace llmkit::cuda
