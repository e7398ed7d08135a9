#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "cuda/emulator/runtime_types.h"

// What lies behind the handles of streams, events and graphs. Work that is queued runs when
// somebody waits for it and not before, so that a missing wait is seen.

namespace llmkit::cuda::emulator {

/// How often an event was recorded, and which of those records was reached.
struct EventState {
  uint64_t recorded = 0, reached = 0;
  cudaStream_t stream = nullptr;
  std::chrono::steady_clock::time_point when;
};

struct Operation {
  std::function<void()> run;
  std::shared_ptr<EventState> needs = nullptr;  // its record, of that stream, comes first
  uint64_t record = 0;
  cudaStream_t recorded_by = nullptr;
};

struct Capture {
  std::vector<std::function<void()>> nodes;
  bool invalid = false;
};

/// Every function of the runtime holds it.
std::recursive_mutex& runtime_mutex();
using Lock = std::lock_guard<std::recursive_mutex>;

/// Remembers an error for cudaGetLastError.
cudaError_t report(cudaError_t error);

/// Queues it, or adds it to the graph that the stream captures.
cudaError_t queue(cudaStream_t stream, std::function<void()> run);
bool is_capturing(cudaStream_t stream);
/// Runs what the stream holds.
void drain(cudaStream_t stream);
void drain_all();
/// Runs all that the default stream waits for.
void drain_blocking();
/// An error, which spoils the capture, while a stream is captured: for what waits or allocates.
cudaError_t refuse_while_capturing();

}  // namespace llmkit::cuda::emulator

struct CUstream_st {
  bool blocking = true;
  std::deque<llmkit::cuda::emulator::Operation> operations;
  std::unique_ptr<llmkit::cuda::emulator::Capture> capture;
};
struct CUevent_st {
  std::shared_ptr<llmkit::cuda::emulator::EventState> state =
      std::make_shared<llmkit::cuda::emulator::EventState>();
};
struct CUgraph_st {
  std::vector<std::function<void()>> nodes;
};
struct CUgraphExec_st {
  std::shared_ptr<const std::vector<std::function<void()>>> nodes;
};
