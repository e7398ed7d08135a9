#include "cpu/sha256/sha256.h"

#include <fcntl.h>
#ifdef LLMKIT_BUILD_AVX512
#include <cpuid.h>
#endif

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/cpu_features.h"
#include "base/read_file.h"
#include "cpu/sha256/kernels.h"

namespace llmkit {
namespace {

constexpr size_t kLanes = Sha256States::kLanes, kBlock = Sha256States::kBlockBytes;
/// Messages that a thread hashes at one time: the lanes of two vectors.
constexpr size_t kMessages = 2 * kLanes;
/// Read at one time: the pieces of all lanes stay in a second-level cache.
constexpr size_t kPieceBytes = size_t{32} << 10;
/// Of a message, asked for ahead: whole pieces.
constexpr size_t kAheadBytes = 32 * kPieceBytes;

/// So few messages are hashed sooner one after the other, by the processor's own instructions: five
/// on Zen 5, six to nine on Intel's.
constexpr size_t kFewMessages = 4;

constexpr uint32_t kBegin[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

void store_big_endian(uint64_t value, size_t bytes, uint8_t* out) {
  for (size_t i = 0; i < bytes; ++i) out[i] = static_cast<uint8_t>(value >> 8 * (bytes - 1 - i));
}

#ifdef LLMKIT_BUILD_AVX512
/// Whether the processor has instructions for it.
bool has_sha() {
  constexpr uint32_t kSha = 1u << 29;
  uint32_t a, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & kSha);
}
#endif

/// Has the system read what is wanted soon: 32 messages in turns do not look like one that is read
/// from its begin to its end. Elsewhere than on Linux it is left to find out.
void read_ahead([[maybe_unused]] int descriptor, [[maybe_unused]] uint64_t offset,
                [[maybe_unused]] uint64_t size) {
#ifdef __linux__
  if (size == 0) return;  // which would mean: to the end of the file
  posix_fadvise(descriptor, static_cast<off_t>(offset), static_cast<off_t>(size),
                POSIX_FADV_WILLNEED);
#endif
}

}  // namespace

const uint32_t kSha256Constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

void Sha256States::begin(size_t lane) {
  for (size_t i = 0; i < 8; ++i) words[i][lane] = kBegin[i];
}

void Sha256States::take(size_t lane, const Sha256States& other, size_t from) {
  for (size_t i = 0; i < 8; ++i) words[i][lane] = other.words[i][from];
}

bool hashes_in_lanes() {
#ifdef LLMKIT_BUILD_AVX512
  return runs_here(isa::kAvx512);
#else
  return false;
#endif
}

/// A range that is being hashed, a piece of it in memory.
class RangeHashes::Lane {
 public:
  void begin(size_t index, const MessageRange& range) {
    index_ = index;
    range_ = range;
    read_ = 0;
    busy_ = true;
    next_ = piece_.data();
    end_ = next_;
    padded_ = false;
  }

  bool busy() const { return busy_; }
  size_t index() const { return index_; }
  const uint8_t* next() const { return next_; }
  size_t blocks() const { return static_cast<size_t>(end_ - next_) / kBlock; }
  bool complete() const { return padded_ && next_ == end_; }
  void pass(size_t blocks) { next_ += busy_ ? blocks * kBlock : 0; }
  void end() { busy_ = false; }

  /// Reads the next piece; the last one gets the padding of sha256. Says what went wrong, or
  /// nothing.
  std::string read() {
    const uint64_t from = range_.offset + read_, left = range_.size - read_;
    if (read_ % kAheadBytes == 0) {
      const uint64_t asked = read_ == 0 ? 0 : kAheadBytes;
      if (asked < left)
        read_ahead(range_.descriptor, from + asked,
                   std::min<uint64_t>(2 * kAheadBytes, left) - asked);
    }
    const size_t size = static_cast<size_t>(std::min<uint64_t>(kPieceBytes, left));
    uint8_t* const piece = piece_.data();
    const std::string problem = read_file(range_.descriptor, from, size, piece);
    if (!problem.empty()) return problem;
    read_ += size;
    next_ = piece;
    end_ = piece + size;
    if (read_ == range_.size) pad(piece + size, size);
    return "";
  }

 private:
  /// A bit, zeros up to a whole block, and the message's length in bits.
  void pad(uint8_t* out, size_t size) {
    constexpr size_t kLength = sizeof(uint64_t);
    const size_t zeros = (2 * kBlock - 1 - kLength - size % kBlock) % kBlock;
    *out++ = 0x80;
    std::memset(out, 0, zeros);
    store_big_endian(8 * range_.size, kLength, out + zeros);
    end_ = out + zeros + kLength;
    padded_ = true;
  }

  std::vector<uint8_t> piece_ = std::vector<uint8_t>(kPieceBytes + 2 * kBlock);
  const uint8_t* next_ = piece_.data();
  const uint8_t* end_ = piece_.data();
  MessageRange range_ = {};
  uint64_t read_ = 0;
  size_t index_ = 0;
  bool busy_ = false, padded_ = false;
};

RangeHashes::RangeHashes(std::vector<MessageRange> ranges)
    : ranges_(std::move(ranges)), order_(ranges_.size()), hashes_(ranges_.size()) {
  // The largest first, so that the lanes end together.
  std::iota(order_.begin(), order_.end(), size_t{0});
  std::stable_sort(order_.begin(), order_.end(),
                   [this](size_t a, size_t b) { return ranges_[a].size > ranges_[b].size; });
}

bool RangeHashes::take(Lane& lane) {
  const size_t place = next_++;
  if (place >= order_.size()) return false;
  lane.begin(order_[place], ranges_[order_[place]]);
  return true;
}

void RangeHashes::fail(const std::string& problem) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (problem_.empty()) problem_ = problem;
  stopped_ = true;
}

std::string RangeHashes::problem() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return problem_;
}

#ifdef LLMKIT_BUILD_AVX512

/// The messages that a thread hashes at one time.
class RangeHashes::Lanes {
 public:
  explicit Lanes(RangeHashes& ranges) : ranges_(ranges) {}

  /// Hashes what is in memory of the messages. False when there are no more, or a problem.
  bool advance() {
    static const bool has_instructions = has_sha();
    size_t busy = 0;
    for (size_t i = 0; i < kMessages; ++i) {
      if (lanes_[i].blocks() == 0) refill(i);
      busy += lanes_[i].busy();
    }
    if (busy == 0 || ranges_.stopped_) return false;
    if (busy <= kLanes) gather();
    if (has_instructions && busy <= kFewMessages)
      hash_alone();
    else
      hash_together(busy <= kLanes ? kLanes : kMessages);
    return true;
  }

 private:
  /// The next piece of a lane's message, or of the next message.
  void refill(size_t i) {
    Lane& lane = lanes_[i];
    Sha256States& states = states_[i / kLanes];
    if (lane.busy() && lane.complete()) {
      uint8_t* const hash = ranges_.hashes_[lane.index()].data();
      for (size_t word = 0; word < 8; ++word)
        store_big_endian(states.words[word][i % kLanes], 4, hash + 4 * word);
      lane.end();
    }
    if (!lane.busy()) {
      if (!ranges_.take(lane)) return;
      states.begin(i % kLanes);
    }
    const std::string problem = lane.read();
    if (!problem.empty()) ranges_.fail(problem);
  }

  /// Brings the messages of the second vector to lanes of the first that have none.
  void gather() {
    size_t free = 0;
    for (size_t i = kLanes; i < kMessages; ++i) {
      if (!lanes_[i].busy()) continue;
      while (lanes_[free].busy()) ++free;
      std::swap(lanes_[free], lanes_[i]);
      states_[0].take(free, states_[1], i % kLanes);
    }
  }

  void hash_alone() {
    for (size_t i = 0; i < kLanes; ++i) {
      const size_t blocks = lanes_[i].blocks();
      if (lanes_[i].busy()) sha256_blocks_one(states_[0], i, lanes_[i].next(), blocks);
      lanes_[i].pass(blocks);
    }
  }

  void hash_together(size_t lanes) {
    size_t count = SIZE_MAX;
    const uint8_t* some = nullptr;  // for lanes without a message
    for (size_t i = 0; i < lanes; ++i) {
      if (!lanes_[i].busy()) continue;
      count = std::min(count, lanes_[i].blocks());
      some = lanes_[i].next();
    }
    const uint8_t* from[kMessages] = {};
    for (size_t i = 0; i < lanes; ++i) from[i] = lanes_[i].busy() ? lanes_[i].next() : some;
    if (lanes == kMessages)
      sha256_blocks_pair_avx512(states_, from, count);
    else
      sha256_blocks_avx512(states_[0], from, count);
    for (size_t i = 0; i < lanes; ++i) lanes_[i].pass(count);
  }

  RangeHashes& ranges_;
  Sha256States states_[2] = {};
  std::vector<Lane> lanes_ = std::vector<Lane>(kMessages);
};

void RangeHashes::work() {
  Lanes lanes(*this);
  while (!stopped_ && lanes.advance()) continue;
}

#else

void RangeHashes::work() {}

#endif

}  // namespace llmkit
