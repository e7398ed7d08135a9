#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace llmkit {

// sha256 of many messages at once. One message is a chain of dependent additions and rotations,
// which leaves most of a core idle; in a vector of 16 lanes each is that of another message, and
// the chains of two vectors fill what one leaves.

/// The states of 16 messages: word by word, a lane for each message.
struct Sha256States {
  static constexpr size_t kLanes = 16, kBlockBytes = 64;

  alignas(64) uint32_t words[8][kLanes];

  /// Begins a message in a lane.
  void begin(size_t lane);
  /// Lane `from` of `other` becomes `lane`.
  void take(size_t lane, const Sha256States& other, size_t from);
};

using Sha256 = std::array<uint8_t, 32>;

/// Bytes of an open file that are a message.
struct MessageRange {
  int descriptor;
  uint64_t offset, size;
};

/// Whether this machine has vectors for it. Without, one message after the other is faster, by the
/// processor's own instructions.
bool hashes_in_lanes();

/// Hashes ranges of files. They are read in pieces; none stays in memory.
class RangeHashes {
 public:
  explicit RangeHashes(std::vector<MessageRange> ranges);

  /// Takes its part of the ranges until none is left; for several threads at a time.
  /// Only where hashes_in_lanes().
  void work();

  /// Ends the work soon, which is a problem.
  void stop() { fail("it was stopped"); }

  /// One for each range, when all work has ended without a problem.
  const std::vector<Sha256>& hashes() const { return hashes_; }
  /// What went wrong first; empty if nothing did.
  std::string problem() const;

 private:
  class Lane;

  class Lanes;

  bool take(Lane& lane);
  void fail(const std::string& problem);

  std::vector<MessageRange> ranges_;
  std::vector<size_t> order_;
  std::vector<Sha256> hashes_;
  std::atomic<size_t> next_{0};
  mutable std::mutex mutex_;  // of problem_
  std::string problem_;
  std::atomic<bool> stopped_{false};
};

}  // namespace llmkit
