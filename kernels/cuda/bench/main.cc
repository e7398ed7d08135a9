#include <algorithm>
#include <cstdio>
#include <cstring>
#include <regex>

#include "cuda/bench/work.h"

// Times the kernels on a GPU beside what it can do at most, in one process, for a machine that may
// have nothing else:
//   llmkit_cuda_bench [--only REGEX] [--json]   a table; one line of JSON instead
//   llmkit_cuda_bench --dry                     runs every work once, small, and prints its name
// Without a GPU it prints `skipped: no CUDA device` and no figure.

namespace {

using namespace llmkit::cuda::bench;

#ifdef LLMKIT_EMULATED
constexpr bool kEmulated = true;
#else
constexpr bool kEmulated = false;
#endif
constexpr int kBatches = 7;
constexpr double kBatchSeconds = 0.02;

struct Options {
  bool dry = false, json = false;
  std::regex only{""};
};

Options parse(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    if (argument == "--dry") {
      options.dry = true;
    } else if (argument == "--json") {
      options.json = true;
    } else if (argument == "--only" && i + 1 < count) {
      options.only = std::regex(arguments[++i]);
    } else {
      std::fprintf(stderr, "usage: %s [--only REGEX] [--json] [--dry]\n", arguments[0]);
      std::exit(2);
    }
  }
  return options;
}

/// Times calls by events of the GPU.
class Clock {
 public:
  Clock() {
    expect(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
    expect(cudaEventCreate(&begin_), "cudaEventCreate");
    expect(cudaEventCreate(&end_), "cudaEventCreate");
  }
  ~Clock() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
    cudaStreamDestroy(stream_);
  }
  Clock(const Clock&) = delete;
  Clock& operator=(const Clock&) = delete;

  void run_once(const Call& call) {
    call(0, stream_);
    expect(cudaStreamSynchronize(stream_), "the work");
  }

  /// Of a call: the median of some batches, after one that tells how many calls make a batch.
  double seconds(const Call& call) {
    run_once(call);
    const double first = batch(call, 2) / 2;
    const auto calls = static_cast<size_t>(std::max(2.0, std::min(1e4, kBatchSeconds / first)));
    batch(call, calls);
    double times[kBatches];
    for (double& time : times) time = batch(call, calls) / static_cast<double>(calls);
    std::sort(times, times + kBatches);
    return times[kBatches / 2];
  }

 private:
  double batch(const Call& call, size_t calls) {
    expect(cudaEventRecord(begin_, stream_), "cudaEventRecord");
    for (size_t i = 0; i < calls; ++i) call(turn_++, stream_);
    expect(cudaEventRecord(end_, stream_), "cudaEventRecord");
    expect(cudaEventSynchronize(end_), "the work");
    float milliseconds = 0;
    expect(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
    return milliseconds / 1000.0;
  }

  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  size_t turn_ = 0;
};

struct Row {
  std::string name;
  Bound bound;
  double rate;  // of amount per second
};

/// The best of the limits measured in this run, and the bytes of the GPU that were free.
struct Limits {
  size_t free = 0;
  double copy = 0, upload = 0, matrix = 0;
  void add(const Row& row) {
    if (row.bound == Bound::kCopy) copy = std::max(copy, row.rate);
    if (row.bound == Bound::kUpload) upload = std::max(upload, row.rate);
    if (row.bound == Bound::kMatrix) matrix = std::max(matrix, row.rate);
  }
  double of(Bound bound) const {
    if (bound == Bound::kCopy) return copy;
    if (bound == Bound::kUpload) return upload;
    return bound == Bound::kMatrix ? matrix : 0;
  }
};

/// A figure in the unit that people read: GB/s, TFLOP/s, or microseconds of a call.
struct Figure {
  double value;
  const char* unit;
};
Figure figure_of(const Row& row, double rate) {
  if (row.bound == Bound::kMatrix) return {rate * 1e-12, "TFLOP/s"};
  if (row.bound == Bound::kCopy || row.rate > 1e8) return {rate * 1e-9, "GB/s"};
  return {1e6 / rate, "us"};
}

void print_row(const Row& row, const Limits& limits) {
  const Figure figure = figure_of(row, row.rate);
  const double limit = limits.of(row.bound);
  std::printf("%-52s %10.1f %-8s", row.name.c_str(), figure.value, figure.unit);
  if (limit > 0)
    std::printf(" %10.1f %5.1f %%", figure_of(row, limit).value, 100 * row.rate / limit);
  std::printf("\n");
}

/// What products of warpgroups are here.
const char* warpgroup_bits() {
  return llmkit::cuda::kWarpgroupNames[static_cast<size_t>(llmkit::cuda::warpgroups())];
}

void print_json(const char* device, const std::vector<Row>& rows, const Limits& limits) {
  std::printf(
      "{\"device\": \"%s\", \"warpgroups\": \"%s\", \"copy\": %.1f, \"upload\": %.1f, "
      "\"matrix\": %.2f, \"free\": %.1f, \"rows\": [",
      device, warpgroup_bits(), limits.copy * 1e-9, limits.upload * 1e-9, limits.matrix * 1e-12,
      static_cast<double>(limits.free) * 1e-9);
  for (size_t i = 0; i < rows.size(); ++i) {
    const Figure figure = figure_of(rows[i], rows[i].rate);
    const double limit = limits.of(rows[i].bound);
    std::printf("%s{\"work\": \"%s\", \"unit\": \"%s\", \"value\": %.4g", i == 0 ? "" : ", ",
                rows[i].name.c_str(), figure.unit, figure.value);
    if (limit > 0) std::printf(", \"limit\": %.4g", figure_of(rows[i], limit).value);
    std::printf("}");
  }
  std::printf("]}\n");
}

int run_dry(const std::vector<Work>& works) {
  Clock clock;
  for (const Work& work : works) {
    clock.run_once(work.open(true));
    std::printf("%s\n", work.name.c_str());
  }
  std::printf("%zu works ran once, none was timed\n", works.size());
  return 0;
}

std::vector<Work> works_of(const std::regex& only) {
  std::vector<Work> works;
  for (const auto& some : {linear_works(), product_works(), attention_works(), token_works()})
    for (const Work& work : some)
      if (std::regex_search(work.name, only)) works.push_back(work);
  return works;
}

}  // namespace

int main(int count, char** arguments) {
  const Options options = parse(count, arguments);
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("skipped: no CUDA device\n");
    return 0;
  }
  std::vector<Work> bounds = limit_works();
  for (const Work& work : blas_works()) bounds.push_back(work);
  const std::vector<Work> works = works_of(options.only);
  if (options.dry) {
    for (const Work& work : works) bounds.push_back(work);
    return run_dry(bounds);
  }
  if (kEmulated) {
    std::printf("skipped: the device is emulated, its times say nothing\n");
    return 0;
  }
  Clock clock;
  Limits limits;
  size_t all = 0;
  expect(cudaMemGetInfo(&limits.free, &all), "cudaMemGetInfo");
  std::vector<Row> rows;
  const auto measure = [&](const Work& work) {
    rows.push_back({work.name, work.bound, work.amount / clock.seconds(work.open(false))});
    std::fprintf(stderr, "%s\n", work.name.c_str());
  };
  for (const Work& work : bounds) measure(work);
  for (const Row& row : rows) limits.add(row);
  for (const Work& work : works) measure(work);
  cudaDeviceProp properties;
  expect(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  if (options.json) {
    print_json(properties.name, rows, limits);
    return 0;
  }
  std::printf("%s, products of warpgroups: %s\n", properties.name, warpgroup_bits());
  for (const Row& row : rows) print_row(row, limits);
  return 0;
}
