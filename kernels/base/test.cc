#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <iterator>
#include <thread>
#include <utility>
#include <vector>

#include "base/available_cpus.h"
#include "base/huge_buffer.h"
#include "base/mapped_file.h"
#include "base/parallel.h"
#include "base/scratch.h"
#include "base/write_direct.h"
#include "testing/testing.h"

using namespace llmkit;
using namespace llmkit::testing;

namespace {

void write_file(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

std::string make_folder(const std::string& path) {
  std::system(("mkdir -p '" + path + "'").c_str());
  return path;
}

void check_cgroups(Checks& checks, const std::string& root) {
  checks.that("no quota", cgroup_cpus(root, "0::/none\n") == 0);
  write_file(make_folder(root + "/a/b") + "/cpu.max", "150000 100000\n");
  checks.that("v2 rounds up", cgroup_cpus(root, "0::/a/b\n") == 2);
  write_file(root + "/a/cpu.max", "100000 100000\n");
  checks.that("the group above is tighter", cgroup_cpus(root, "0::/a/b\n") == 1);
  write_file(root + "/a/cpu.max", "max 100000\n");
  checks.that("max is no quota", cgroup_cpus(root, "0::/a\n") == 0);
  const std::string v1 = make_folder(root + "/cpu/c");
  write_file(v1 + "/cpu.cfs_quota_us", "300000\n");
  write_file(v1 + "/cpu.cfs_period_us", "100000\n");
  checks.that("v1", cgroup_cpus(root, "4:cpu,cpuacct:/c\n3:memory:/c\n") == 3);
  write_file(v1 + "/cpu.cfs_quota_us", "-1\n");
  checks.that("v1 without a quota", cgroup_cpus(root, "4:cpu:/c\n") == 0);
  checks.that("nonsense", cgroup_cpus(root, "\n:\nx\n") == 0);
}

/// Every item once, whatever the threads and the grain.
void check_coverage(Checks& checks, size_t count, size_t grain) {
  std::vector<std::atomic<int>> visits(count);
  parallel_for(count, grain, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) ++visits[i];
  });
  for (const auto& visit : visits) checks.that("each item once", visit == 1);
}

/// One small loop right after the other, each reading what the one before wrote.
void check_succession(Checks& checks) {
  std::vector<int> values(64, 0), next(64, 0);
  for (int i = 0; i < 5000; ++i) {
    parallel_for(64, 1, [&](size_t begin, size_t end) {
      for (size_t j = begin; j < end; ++j) next[j] = values[63 - j] + 1;
    });
    values.swap(next);
  }
  for (const int value : values) checks.that("loops in succession", value == 5000);
}

/// The workers have fallen asleep in between.
void check_waking(Checks& checks) {
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    check_coverage(checks, 1000, 1);
  }
}

/// Workers do it between two loops; the caller, who does not wait, does not.
void check_waiting(Checks& checks) {
  static std::atomic<int> turns{0};
  static std::atomic<bool> by_caller{false};
  static const std::thread::id caller = std::this_thread::get_id();
  set_thread_count(2);
  // Long items, so that the worker comes in time for one.
  for (int i = 0; i < 1000 && turns == 0; ++i)
    parallel_for(8, 1, [](size_t, size_t) {
      while_waiting([] {
        ++turns;
        if (std::this_thread::get_id() == caller) by_caller = true;
      });
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
  checks.that("work while waiting", turns > 0 && !by_caller);
}

void check_pool(Checks& checks) {
  for (size_t threads : {1, 2, 3, 8, 1}) {
    set_thread_count(threads);
    checks.that("the number of threads is what was set", thread_count() == threads);
    for (size_t count : {0, 1, 2, 5, 1000})
      for (size_t grain : {0, 1, 7, 5000}) check_coverage(checks, count, grain);
  }
  for (size_t threads : {2, 5}) {
    set_thread_count(threads);
    check_succession(checks);
    check_waking(checks);
  }
  check_waiting(checks);
  set_thread_count(3);
  std::atomic<int> inner{0};
  parallel_for(8, 1, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i)
      parallel_for(10, 1, [&](size_t b, size_t e) { inner += static_cast<int>(e - b); });
  });
  checks.that("a job inside a job", inner == 80);
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i)
    callers.emplace_back([&checks] {
      for (int j = 0; j < 50; ++j) check_coverage(checks, 100, 1);
    });
  for (std::thread& caller : callers) caller.join();
}

void check_mapped_file(Checks& checks, const std::string& folder) {
  const std::string path = folder + "/file";
  std::string error;
  write_file(path, "hello");
  {
    const auto file = MappedFile::open(path, {}, error);
    checks.that("mapped", file != nullptr && file->size() == 5);
    checks.that("content", std::memcmp(file->data(), "hello", 5) == 0);
    static_cast<char*>(file->data())[0] = 'j';
  }
  {
    const std::string long_text = std::string(99999, '-') + "hello";
    write_file(path, long_text);
    const auto range = MappedFile::open(path, {99999, 4}, error);
    checks.that("a range", range != nullptr && range->size() == 4);
    checks.that("its content", std::memcmp(range->data(), "hell", 4) == 0);
    checks.that("the rest", MappedFile::open(path, {100000, 99}, error)->size() == 4);
    checks.that("beyond the end", MappedFile::open(path, {200000, 4}, error)->size() == 0);
    write_file(path, "hello");
  }
  std::string text;
  std::ifstream(path) >> text;
  checks.that("writes are private", text == "hello");
  write_file(path, "");
  checks.that("empty", MappedFile::open(path, {}, error) != nullptr && error.empty());
  checks.that("a folder", MappedFile::open(folder, {}, error) == nullptr && !error.empty());
  error.clear();
  checks.that("missing", MappedFile::open(folder + "/no", {}, error) == nullptr && !error.empty());
}

bool all_are(const HugeBuffer& buffer, uint8_t value) {
  return std::all_of(buffer.bytes(), buffer.bytes() + buffer.size(),
                     [value](uint8_t byte) { return byte == value; });
}

/// Buffers of one mapping, of a page and a little, and one that is too large for it.
void check_huge_buffers(Checks& checks) {
  constexpr size_t kSizes[] = {4097, 1, 3 << 20, 4096, size_t{65} << 20, 4097};
  std::vector<HugeBuffer> buffers;
  for (const size_t size : kSizes) buffers.emplace_back(size);
  for (size_t i = 0; i < buffers.size(); ++i) {
    checks.that("zeroed", all_are(buffers[i], 0));
    std::memset(buffers[i].bytes(), static_cast<int>(i + 1), buffers[i].size());
  }
  buffers[1] = HugeBuffer();
  buffers[3] = HugeBuffer(5000);
  checks.that("freed", buffers[1].bytes() == nullptr);
  checks.that("zeroed after others were freed", all_are(buffers[3], 0));
  for (const size_t i : {0, 2, 4, 5})
    checks.that("kept", all_are(buffers[i], static_cast<uint8_t>(i + 1)));
  const HugeBuffer moved = std::move(buffers[2]);
  buffers.clear();
  checks.that("kept alone", moved.size() == size_t{3} << 20 && all_are(moved, 3));
}

/// Parts of a file, written with and without a descriptor past the system's memory.
void check_direct_writes(Checks& checks, const std::string& folder) {
  const std::string path = folder + "/direct", text = [] {
    std::string bytes(3 << 20, '-');
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>('a' + i * i % 23);
    return bytes;
  }();
#ifdef O_DIRECT
  constexpr int kDirect = O_DIRECT;
#else
  constexpr int kDirect = 0;
#endif
  for (const int flag : {kDirect, -1}) {
    const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
    // Not every file system has one: without it all is written as usual.
    const int direct = flag == -1 ? -1 : ::open(path.c_str(), O_WRONLY | flag);
    const size_t ends[] = {0, 1, 4096, 4100, 12288, 12289, (size_t{1} << 20) + 5, text.size()};
    for (size_t i = 1; i < std::size(ends); ++i) {
      const char* const part = text.data() + ends[i - 1];
      const auto fill = [&](size_t at, size_t size, void* out) {
        std::memcpy(out, part + at, size);
        return std::string();
      };
      const std::string problem =
          write_direct({file, direct}, ends[i - 1], ends[i] - ends[i - 1], fill);
      checks.that("written", problem.empty());
    }
    std::string read(text.size() + 1, ' ');
    const ssize_t count = ::pread(file, read.data(), read.size(), 0);
    read.resize(count < 0 ? 0 : static_cast<size_t>(count));
    checks.that("what was written", read == text);
    const auto fails = [](size_t, size_t, void*) { return std::string("no"); };
    checks.that("a piece is missing", write_direct({file, direct}, 0, 9, fails) == "no");
    ::close(direct);
    ::close(file);
  }
  const auto nothing = [](size_t, size_t, void*) { return std::string(); };
  checks.that("no file", !write_direct({-1, -1}, 0, 9, nothing).empty());
}

void check_all(Checks& checks) {
  char pattern[] = "/tmp/llmkit-test-XXXXXX";
  const std::string folder = mkdtemp(pattern);
  check_cgroups(checks, folder);
  check_mapped_file(checks, folder);
  check_huge_buffers(checks);
  check_direct_writes(checks, folder);
  check_pool(checks);
  checks.that("at least one CPU", available_cpus() >= 1);
  float* const first = scratch(Scratch::kScores, 10);
  checks.that("scratch is kept", scratch(Scratch::kScores, 5) == first);
  checks.that("scratch is aligned", reinterpret_cast<uintptr_t>(first) % 64 == 0);
  std::system(("rm -r '" + folder + "'").c_str());
}

}  // namespace

int main() { return run(check_all); }
