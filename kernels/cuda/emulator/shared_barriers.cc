#include "cuda/emulator/shared_barriers.h"

#include <cstdio>
#include <cstring>
#include <utility>

#include "cuda/emulator/bulk_copy.h"
#include "cuda/emulator/schedule.h"
#include "cuda/emulator/shared_memory.h"

namespace llmkit::cuda {

namespace emulator {

namespace {

/// The most bytes that a phase can expect.
constexpr int64_t kMostBytes = (1 << 20) - 1;
/// What lies in the memory of a barrier.
constexpr char kMark[8] = {'b', 'a', 'r', 'r', 'i', 'e', 'r', '!'};

}  // namespace

SharedBarriers& shared_barriers() {
  static SharedBarriers barriers;
  return barriers;
}

SharedBarrier& SharedBarriers::at(uint32_t address) {
  const char* const place = shared_memory().at(address, 8);
  const auto found = barriers_.find(address);
  if (found == barriers_.end()) fail("there is no barrier at %u of shared memory", address);
  if (std::memcmp(place, kMark, sizeof(kMark)) != 0) fail("a barrier was overwritten");
  return found->second;
}

void SharedBarriers::init(uint32_t address, uint32_t count) {
  std::memcpy(shared_memory().at(address, 8), kMark, sizeof(kMark));
  if (count == 0 || count >= 1u << 20) fail("a barrier of %u arrivals", count);
  SharedBarrier& barrier = barriers_[address];
  barrier = {};
  barrier.count = barrier.missing = count;
}

void SharedBarriers::publish() {
  for (auto& [address, barrier] : barriers_) barrier.published = true;
}

void SharedBarriers::end_phase(SharedBarrier& barrier) {
  if (barrier.missing > 0 || barrier.bytes != 0) return;
  ++barrier.phase;
  barrier.missing = barrier.count;
  for (const unsigned thread : barrier.waiting) make_ready(thread);
  barrier.waiting.clear();
}

void SharedBarriers::arrive(uint32_t address, uint32_t bytes) {
  SharedBarrier& barrier = at(address);
  if (barrier.missing == 0) fail("more than %u arrivals at a barrier", barrier.count);
  --barrier.missing;
  barrier.bytes += bytes;
  if (barrier.bytes > kMostBytes) fail("a barrier that waits for too many bytes");
  end_phase(barrier);
}

void SharedBarriers::queue(const BulkCopy& copy) {
  if (!at(copy.barrier).published)
    fail("a copy to a barrier that was not made visible to the copy engine");
  if (schedule_order == Order::kReverse)
    land(copy);
  else
    copies_.push_back(copy);
}

void SharedBarriers::land(const BulkCopy& copy) {
  std::memcpy(copy.to, copy.from, copy.bytes);
  shared_memory().publish(copy.to, copy.bytes);
  SharedBarrier& barrier = at(copy.barrier);
  barrier.bytes -= copy.bytes;
  end_phase(barrier);
}

bool SharedBarriers::land_all() {
  const std::vector<BulkCopy> copies = std::move(copies_);
  copies_.clear();
  for (const BulkCopy& copy : copies) land(copy);
  return !copies.empty();
}

void SharedBarriers::list_waiting() const {
  for (const auto& [address, barrier] : barriers_)
    if (!barrier.waiting.empty())
      std::fprintf(stderr, "  %zu threads wait at a barrier for %u arrivals and %lld bytes\n",
                   barrier.waiting.size(), barrier.missing, static_cast<long long>(barrier.bytes));
}

void SharedBarriers::end_block() const {
  if (!copies_.empty()) fail("the block has ended, %zu copies have not", copies_.size());
  for (const auto& [address, barrier] : barriers_)
    if (barrier.bytes != 0) fail("the block has ended before all bytes that a barrier waits for");
}

}  // namespace emulator

void init_barrier(uint32_t barrier, uint32_t count) {
  emulator::shared_barriers().init(barrier, count);
}
void publish_barriers() { emulator::shared_barriers().publish(); }
void arrive(uint32_t barrier) { emulator::shared_barriers().arrive(barrier, 0); }
void arrive_expecting(uint32_t barrier, uint32_t bytes) {
  emulator::shared_barriers().arrive(barrier, bytes);
}

void wait_barrier(uint32_t barrier, uint32_t parity) {
  while (!emulator::shared_barriers().has_ended(barrier, parity)) {
    emulator::shared_barriers().add_waiting(barrier, emulator::thread_of_block());
    emulator::wait_until_ready();
  }
}

void copy_bulk(uint32_t to, const void* from, uint32_t bytes, uint32_t barrier) {
  if (reinterpret_cast<uintptr_t>(from) % 16 != 0 || to % 16 != 0 || bytes % 16 != 0)
    emulator::fail("a bulk copy of %u bytes from %p to %u: not all are multiples of 16", bytes,
                   from, to);
  char* const place = emulator::shared_memory().range(to, bytes);
  emulator::shared_barriers().queue({place, static_cast<const char*>(from), bytes, barrier});
}

void copy_box(uint32_t to, const TensorMap& map, int column, int row, uint32_t barrier) {
  constexpr int kPieces = 8;  // of 16 bytes in each row
  alignas(16) static const char zeros[16] = {};
  if (to % 1024 != 0 || column % 8 != 0)
    emulator::fail("a box of column %d to %u: not a multiple of 8 or of 1024", column, to);
  for (int i = 0; i < kPieces * map.box_rows; ++i) {
    const auto r = static_cast<size_t>(row + i / kPieces);
    const auto c = static_cast<size_t>(column + i % kPieces * 8);
    if (c < map.cols && c + 8 > map.cols) emulator::fail("a box ends within 16 bytes of a row");
    const bool inside = r < map.rows && c < map.cols;
    const uint32_t at = to + i / kPieces * 128 + ((i % kPieces) ^ (i / kPieces % 8)) * 16;
    char* const place = emulator::shared_memory().range(at, 16);
    emulator::shared_barriers().queue(
        {place, inside ? map.values + r * map.row_bytes + c * 2 : zeros, 16, barrier});
  }
}

}  // namespace llmkit::cuda
