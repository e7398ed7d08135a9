#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <thread>

#include "cpu/sha256/reference.h"
#include "cpu/sha256/sha256.h"
#include "testing/testing.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

/// A file without a name that holds some bytes.
class Bytes {
 public:
  explicit Bytes(size_t size) : bytes(random_bytes(size, 3)), file_(std::tmpfile()) {
    std::fwrite(bytes.data(), 1, size, file_);
    std::fflush(file_);
  }
  ~Bytes() { std::fclose(file_); }

  MessageRange range(size_t offset, size_t size) const { return {fileno(file_), offset, size}; }
  Sha256 hash(const MessageRange& range) const {
    const auto begin = bytes.begin() + static_cast<ptrdiff_t>(range.offset);
    return sha256_reference({begin, begin + static_cast<ptrdiff_t>(range.size)});
  }

  const std::vector<uint8_t> bytes;

 private:
  std::FILE* const file_;
};

void check_reference(Checks& checks) {
  // FIPS 180-4: "abc".
  const Sha256 abc = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
                      0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
                      0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
  checks.that("reference", sha256_reference({'a', 'b', 'c'}) == abc);
}

/// As many messages as `sizes` has, hashed by some threads.
void check_sizes(Checks& checks, const Bytes& file, const std::vector<size_t>& sizes,
                 size_t threads) {
  std::vector<MessageRange> ranges;
  for (size_t i = 0; i < sizes.size(); ++i) ranges.push_back(file.range(i % 5, sizes[i]));
  RangeHashes hashes(ranges);
  std::vector<std::thread> others;
  for (size_t i = 1; i < threads; ++i) others.emplace_back([&] { hashes.work(); });
  hashes.work();
  for (std::thread& other : others) other.join();
  checks.that("no problem", hashes.problem().empty());
  for (size_t i = 0; i < sizes.size(); ++i)
    checks.that("hash", hashes.hashes()[i] == file.hash(ranges[i]));
}

void check_problems(Checks& checks, const Bytes& file) {
  RangeHashes beyond({file.range(0, 10), file.range(1, file.bytes.size())});
  beyond.work();
  checks.that("beyond the end", beyond.problem() == "the file is shorter than it was");
  RangeHashes nowhere({{1 << 30, 0, 10}});
  nowhere.work();
  checks.that("no such file", nowhere.problem() == "Bad file descriptor");
  RangeHashes stopped({file.range(0, 10)});
  stopped.stop();
  stopped.work();
  checks.that("stopped", stopped.problem() == "it was stopped");
}

void check_all(Checks& checks) {
  check_reference(checks);
  if (!hashes_in_lanes()) return;
  constexpr size_t kPiece = size_t{32} << 10;
  const Bytes file((size_t{5} << 18) + 100);
  check_sizes(checks, file, {}, 1);
  check_sizes(checks, file, {0}, 1);
  // Around the padding's length, a block and a piece; more and fewer messages than lanes.
  std::vector<size_t> sizes = {1, 3, 55, 56, 57, 63, 64, 65, 119, 120, 128, 1000};
  for (const size_t piece : {kPiece, 2 * kPiece, 32 * kPiece})
    for (const size_t more : {0, 8, 9, 10, 64, 65, 73}) sizes.push_back(piece - 9 + more);
  check_sizes(checks, file, sizes, 1);
  check_sizes(checks, file, sizes, 3);
  check_sizes(checks, file, std::vector<size_t>(80, 3 * kPiece + 5), 2);
  // The last ones begin in lanes of the second vector, and end alone.
  sizes.assign(40, 3 * kPiece + 5);
  std::fill_n(sizes.begin(), 16, 4 * kPiece);
  check_sizes(checks, file, sizes, 1);
  check_problems(checks, file);
}

}  // namespace

int main() { return run(check_all); }
