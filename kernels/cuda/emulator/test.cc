#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <string>

#include "cuda/emulator/test_kernels.h"
#include "cuda/testing/testing.h"

// The emulator finds the mistakes it is there for, and its small floats and streams are CUDA's.

using namespace llmkit::cuda;
using namespace llmkit::cuda::testing;

namespace {

/// What a child process says before a signal ends it; empty when none does.
template <class Body>
std::string last_words(const Body& body) {
  int ends[2];
  if (pipe(ends) != 0) return "";
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    body();
    expect(cudaStreamSynchronize(stream()), "cudaStreamSynchronize");
    _exit(0);
  }
  close(ends[1]);
  std::string words;
  char text[256];
  for (ssize_t n; (n = read(ends[0], text, sizeof(text))) > 0;)
    words.append(text, static_cast<size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? words : "";
}

void check_mistakes(Checks& checks) {
  const struct {
    Mistake mistake;
    const char* words;
  } cases[] = {
      {Mistake::kThreadLeavesBeforeBarrier, "left"},
      {Mistake::kBarriersDiffer, "other threads wait at the barrier of"},
      {Mistake::kLaneLeavesBeforeShuffle, "left"},
      {Mistake::kMaskLeavesOutReader, "leaves out"},
      {Mistake::kWarpWaitsForBarrier, "wait"},
      {Mistake::kLoadOutsideOfSharedMemory, "bytes 64 to 68 of 64"},
      {Mistake::kStoreBeyondSharedMemory, "beyond the 64 bytes"},
      {Mistake::kMatrixRowNotAligned, "not aligned to 16"},
      {Mistake::kProductOfUnpublishedCopy, "did not publish"},
      {Mistake::kOperandNotAligned, "does not begin at 1024"},
      {Mistake::kBulkCopyNotAligned, "not all are multiples of 16"},
      {Mistake::kBarrierNotPublished, "not made visible"},
      {Mistake::kBarrierOverwritten, "overwritten"},
      {Mistake::kTooManyArrivals, "more than 1 arrivals"},
      {Mistake::kWaitForNothing, "wait at a barrier for 1 arrivals"},
      {Mistake::kBlockEndsBeforeCopy, "has ended"},
  };
  for (const auto& c : cases) {
    const std::string words =
        last_words([&] { expect(make_mistake(c.mistake, stream()), "make_mistake"); });
    checks.that(c.words, words.find(c.words) != std::string::npos &&
                             words.find("test_kernels.cu") != std::string::npos);
  }
}

#if !defined(__SANITIZE_ADDRESS__)
/// The sanitizer finds these by itself.
void check_device_memory(Checks& checks) {
  const std::string beyond = last_words([] {
    float* p;
    expect(cudaMalloc(&p, 10 * sizeof(float)), "cudaMalloc");
    expect(write_ones(p, 11, stream()), "write_ones");
    cudaFree(p);
  });
  checks.that("written behind a block", beyond.find("behind the 40 bytes") != std::string::npos);
#if defined(__linux__) && defined(__x86_64__)
  const int key = pkey_alloc(0, 0);
  if (key < 0) return;  // the processor has none
  pkey_free(key);
  DeviceVector<float> x(1);
  const std::string touched = last_words([&] { *const_cast<volatile float*>(x.data()) = 1; });
  checks.that("touched by the host", touched.find("touched") != std::string::npos);
#endif
}
#endif

bool passes_on(int step, bool with_barrier) {
  DeviceVector<int> to(64);
  expect(pass_on(to.data(), step, with_barrier, stream()), "pass_on");
  const std::vector<int> got = to.values();
  for (int i = 0; i < 64; ++i)
    if (got[i] != (i + step + 64) % 64) return false;
  return true;
}

void check_races(Checks& checks) {
  checks.that("with a barrier", passes_on(1, true) && passes_on(-1, true));
  checks.that("a missing barrier is seen", !passes_on(1, false) || !passes_on(-1, false));
  const std::vector<float> values = random_normal(128, 1);
  const DeviceVector<float> from(values);
  const char* const order = std::getenv("LLMKIT_EMULATED_ORDER");
  const bool early = order != nullptr && std::string(order) == "reverse";
  for (bool with_wait : {true, false})
    for (const auto copy : {copy_through, copy_bulk_through}) {
      DeviceVector<float> to(128);
      expect(copy(from.data(), to.data(), with_wait, stream()), "copy");
      const std::vector<float> got = to.values();
      checks.that(
          "a copy, or poison without the wait where it comes late",
          with_wait || early ? same_bytes(got, values) : got[0] != got[0] && got[127] != got[127]);
    }
}

/// Boxes of a matrix of 11 rows and 96 columns: pieces of 16 bytes exchanged by the row, zeros
/// where the matrix ends.
void check_boxes(Checks& checks) {
  constexpr size_t kRows = 11, kCols = 96, kStep = 104;
  std::vector<uint16_t> values(kRows * kStep);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<uint16_t>(1 + i);
  const DeviceVector<uint16_t> from(values);
  DeviceVector<uint16_t> to(16 * 64);
  const Bf16Matrix matrix = {reinterpret_cast<const bf16*>(from.data()), kRows, kCols, kStep};
  expect(copy_boxes(matrix, to.data(), stream()), "copy_boxes");
  const std::vector<uint16_t> got = to.values();
  for (size_t row = 0; row < 16; ++row)
    for (size_t col = 0; col < 64; ++col) {
      const size_t place = row * 64 + ((col / 8) ^ (row % 8)) * 8 + col % 8;
      const bool inside = row < kRows && 64 + col < kCols;
      checks.that("a box", got[place] == (inside ? values[row * kStep + 64 + col] : 0));
    }
  const Bf16Matrix shifted = {matrix.values + 1, kRows, kCols, kStep};
  checks.that("a matrix that is not aligned",
              copy_boxes(shifted, to.data(), stream()) == cudaErrorInvalidValue);
}

/// Every block finds poison: also the second launch of a kernel, which was seen to write there.
void check_poison(Checks& checks) {
  for (int launch = 0; launch < 3; ++launch) {
    DeviceVector<float> to(64);
    expect(cudaMemset(to.data(), 0, 64 * sizeof(float)), "cudaMemset");
    expect(read_unwritten(to.data(), stream()), "read_unwritten");
    for (float value : to.values()) checks.that("poison", value != value);
  }
}

/// Every finite value is itself; between two neighbours the even one wins, and beside the middle
/// the nearer one.
template <class T>
void check_rounding(Checks& checks, T (*of_bits)(unsigned short), unsigned last) {
  for (unsigned bits = 0; bits < last; ++bits) {
    const float low = of_bits(static_cast<unsigned short>(bits));
    const float high = of_bits(static_cast<unsigned short>(bits + 1));
    const float middle = low + (high - low) / 2;
    checks.that("itself", T(low).bits == bits && T(-low).bits == (bits | 0x8000));
    checks.that("half way", T(middle).bits == bits + bits % 2);
    checks.that("below", T(std::nextafterf(middle, 0)).bits == bits);
    checks.that("above", T(std::nextafterf(middle, high)).bits == bits + 1);
  }
}

void check_floats(Checks& checks) {
  check_rounding<__nv_bfloat16>(checks, __ushort_as_bfloat16, 0x7f7f);
  check_rounding<__half>(checks, __ushort_as_half, 0x7bff);
  checks.that("infinite", __half(65520.0f).bits == 0x7c00 && __half(65519.0f).bits == 0x7bff);
  checks.that("NaN", __half(NAN).bits == 0x7fff && __nv_bfloat16(NAN).bits == 0x7fff);
  // 257 * 1 - 2^-40 rounds below the tie between 256 and 258 that float32 would make of it.
  const __nv_bfloat16 tie = __hfma(__nv_bfloat16(1.0f), __nv_bfloat16(256.0f), __nv_bfloat16(1.0f));
  checks.that("a tie", float(tie) == 256);
  const __nv_bfloat16 above = __hfma(__nv_bfloat16(257.0f / 256), __nv_bfloat16(256.0f),
                                     __nv_bfloat16(std::ldexp(1.0f, -40)));
  checks.that("no second rounding", float(above) == 256);
}

/// Work runs when somebody waits, a stream's in order, and another's after the event it waits for.
void check_streams(Checks& checks) {
  cudaStream_t other;
  cudaEvent_t event;
  expect(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking), "stream");
  expect(cudaEventCreate(&event), "event");
  int *pinned, *place;
  expect(cudaMallocHost(&pinned, 2 * sizeof(int)), "cudaMallocHost");
  expect(cudaMalloc(&place, sizeof(int)), "cudaMalloc");
  pinned[0] = 1;
  pinned[1] = 0;
  const auto copy = [](void* to, void* from, cudaMemcpyKind kind, cudaStream_t on) {
    expect(cudaMemcpyAsync(to, from, sizeof(int), kind, on), "cudaMemcpyAsync");
  };
  copy(place, &pinned[0], cudaMemcpyHostToDevice, stream());
  expect(cudaEventRecord(event, stream()), "record");
  expect(cudaStreamWaitEvent(other, event), "wait");
  copy(&pinned[1], place, cudaMemcpyDeviceToHost, other);
  checks.that("nothing has run", pinned[1] == 0 && cudaEventQuery(event) == cudaErrorNotReady);
  pinned[0] = 2;
  expect(cudaStreamSynchronize(other), "synchronize");
  checks.that("the event's stream ran first", pinned[1] == 1 || pinned[1] == 2);
  checks.that("and the event was reached", cudaEventQuery(event) == cudaSuccess);
  expect(cudaFree(place), "cudaFree");
  expect(cudaFreeHost(pinned), "cudaFreeHost");
  expect(cudaEventDestroy(event), "event");
  expect(cudaStreamDestroy(other), "stream");
}

/// What may not happen while a stream is captured is an error there, and spoils the graph.
void check_capture(Checks& checks) {
  void* p;
  cudaGraph_t graph;
  expect(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeThreadLocal), "begin");
  checks.that("allocating", cudaMalloc(&p, 16) == cudaErrorStreamCaptureUnsupported);
  checks.that("the graph",
              cudaStreamEndCapture(stream(), &graph) == cudaErrorStreamCaptureInvalidated);
  checks.that("the last error", cudaGetLastError() == cudaErrorStreamCaptureInvalidated);
  checks.that("is told once", cudaGetLastError() == cudaSuccess);
}

void check_copies(Checks& checks) {
  float host[4] = {};
  DeviceVector<float> to(4);
  checks.that("beyond the end",
              cudaMemcpy(to.data() + 2, host, 16, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  checks.that("the wrong way",
              cudaMemcpy(host, to.data(), 16, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  cudaGetLastError();
}

void check_all(Checks& checks) {
  check_mistakes(checks);
#if !defined(__SANITIZE_ADDRESS__)
  check_device_memory(checks);
#endif
  check_races(checks);
  check_boxes(checks);
  check_poison(checks);
  check_floats(checks);
  check_streams(checks);
  check_capture(checks);
  check_copies(checks);
}

}  // namespace

int main() { return run_on_device(check_all); }
