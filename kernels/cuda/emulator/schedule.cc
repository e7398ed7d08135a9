#include "cuda/emulator/schedule.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

namespace llmkit::cuda::emulator {

namespace {

Order order_asked_for() {
  const char* const name = std::getenv("LLMKIT_EMULATED_ORDER");
  if (name == nullptr || std::strcmp(name, "forward") == 0) return Order::kForward;
  if (std::strcmp(name, "reverse") == 0) return Order::kReverse;
  if (std::strcmp(name, "shuffled") == 0) return Order::kShuffled;
  std::fprintf(stderr, "LLMKIT_EMULATED_ORDER: forward, reverse or shuffled, not %s\n", name);
  std::exit(2);
}

std::minstd_rand engine(1);
std::vector<size_t> shuffled_blocks;
size_t block_count = 0;

}  // namespace

const Order schedule_order = order_asked_for();

unsigned random_turn() { return static_cast<unsigned>(engine() >> 8); }

void start_schedule(size_t blocks) {
  block_count = blocks;
  if (schedule_order != Order::kShuffled) return;
  shuffled_blocks.resize(blocks);
  std::iota(shuffled_blocks.begin(), shuffled_blocks.end(), size_t{0});
  std::shuffle(shuffled_blocks.begin(), shuffled_blocks.end(), engine);
}

size_t block_in_turn(size_t i) {
  if (schedule_order == Order::kForward) return i;
  return schedule_order == Order::kReverse ? block_count - 1 - i : shuffled_blocks[i];
}

}  // namespace llmkit::cuda::emulator
