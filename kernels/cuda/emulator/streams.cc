#include "cuda/emulator/streams.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "cuda/emulator/device_heap.h"
#include "cuda/emulator/runtime.h"

namespace llmkit::cuda::emulator {

namespace {

/// More than this and the first are run, as memory is held for them.
constexpr size_t kLongestQueue = 4096;

std::vector<cudaStream_t>& streams() {
  static std::vector<cudaStream_t>& all = *new std::vector<cudaStream_t>;
  return all;
}

thread_local cudaError_t last_error = cudaSuccess;

void run_first(cudaStream_t stream) {
  const Operation operation = std::move(stream->operations.front());
  stream->operations.pop_front();
  if (operation.needs != nullptr)
    while (operation.needs->reached < operation.record) run_first(operation.recorded_by);
  const DeviceAccess access;
  if (operation.run) operation.run();
}

/// With LLMKIT_EMULATED_STREAMS=early, streams but for the first run what they can at once: a copy
/// that does not wait for the kernels that still use its place is seen.
bool runs_early(cudaStream_t stream) {
  const char* const value = std::getenv("LLMKIT_EMULATED_STREAMS");
  return value != nullptr && std::strcmp(value, "early") == 0 && stream != streams().front();
}

void run_ready(cudaStream_t stream) {
  while (!stream->operations.empty()) {
    const Operation& next = stream->operations.front();
    if (next.needs != nullptr && next.needs->reached < next.record) return;
    run_first(stream);
  }
}

}  // namespace

std::recursive_mutex& runtime_mutex() {
  static std::recursive_mutex& mutex = *new std::recursive_mutex;
  return mutex;
}

cudaError_t report(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

void drain(cudaStream_t stream) {
  if (stream == nullptr) return drain_blocking();
  while (!stream->operations.empty()) run_first(stream);
}

void drain_all() {
  for (cudaStream_t stream : streams()) drain(stream);
}

void drain_blocking() {
  for (cudaStream_t stream : streams())
    if (stream->blocking) drain(stream);
}

bool is_capturing(cudaStream_t stream) { return stream != nullptr && stream->capture != nullptr; }

cudaError_t refuse_while_capturing() {
  cudaError_t error = cudaSuccess;
  for (cudaStream_t stream : streams())
    if (stream->capture != nullptr) {
      stream->capture->invalid = true;
      error = cudaErrorStreamCaptureUnsupported;
    }
  return report(error);
}

cudaError_t queue(cudaStream_t stream, std::function<void()> run) {
  if (stream == nullptr) {
    if (refuse_while_capturing() != cudaSuccess) return report(cudaErrorStreamCaptureImplicit);
    drain_blocking();
    const DeviceAccess access;
    run();
    return cudaSuccess;
  }
  if (stream->capture != nullptr) {
    if (stream->capture->invalid) return report(cudaErrorStreamCaptureInvalidated);
    stream->capture->nodes.push_back(std::move(run));
    return cudaSuccess;
  }
  stream->operations.push_back({std::move(run)});
  if (stream->operations.size() > kLongestQueue) run_first(stream);
  if (runs_early(stream)) run_ready(stream);
  return cudaSuccess;
}

}  // namespace llmkit::cuda::emulator

using namespace llmkit::cuda::emulator;

cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}
cudaError_t cudaPeekAtLastError() { return last_error; }

cudaError_t cudaDeviceSynchronize() {
  const Lock lock(runtime_mutex());
  if (const cudaError_t error = refuse_while_capturing(); error != cudaSuccess) return error;
  drain_all();
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  const Lock lock(runtime_mutex());
  *stream = new CUstream_st;
  (*stream)->blocking = !(flags & cudaStreamNonBlocking);
  streams().push_back(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Lock lock(runtime_mutex());
  const auto found = std::find(streams().begin(), streams().end(), stream);
  if (found == streams().end()) return report(cudaErrorInvalidResourceHandle);
  drain(stream);
  streams().erase(found);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Lock lock(runtime_mutex());
  if (const cudaError_t error = refuse_while_capturing(); error != cudaSuccess) return error;
  drain(stream);
  return cudaSuccess;
}

/// Asking again and again comes to an end: every question runs one operation.
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  const Lock lock(runtime_mutex());
  if (const cudaError_t error = refuse_while_capturing(); error != cudaSuccess) return error;
  if (stream == nullptr || stream->operations.empty()) return cudaSuccess;
  run_first(stream);
  return cudaErrorNotReady;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const Lock lock(runtime_mutex());
  if (event == nullptr) return report(cudaErrorInvalidResourceHandle);
  if (is_capturing(stream)) return report(cudaErrorStreamCaptureIsolation);
  EventState& state = *event->state;
  if (stream != nullptr) {
    stream->operations.push_back({nullptr, event->state, state.recorded, state.stream});
  } else {
    while (state.reached < state.recorded) run_first(state.stream);
  }
  return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  const Lock lock(runtime_mutex());
  return queue(stream, [=] { function(data); });
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  return cudaEventCreate(event);
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Lock lock(runtime_mutex());
  if (event == nullptr) return report(cudaErrorInvalidResourceHandle);
  if (is_capturing(stream)) return queue(stream, [] {});
  const std::shared_ptr<EventState> state = event->state;
  state->stream = stream;
  const uint64_t record = ++state->recorded;
  return queue(stream, [=] {
    state->reached = record;
    state->when = std::chrono::steady_clock::now();
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Lock lock(runtime_mutex());
  if (const cudaError_t error = refuse_while_capturing(); error != cudaSuccess) return error;
  EventState& state = *event->state;
  while (state.reached < state.recorded) run_first(state.stream);
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const Lock lock(runtime_mutex());
  if (const cudaError_t error = refuse_while_capturing(); error != cudaSuccess) return error;
  EventState& state = *event->state;
  if (state.reached == state.recorded) return cudaSuccess;
  run_first(state.stream);
  return cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  const Lock lock(runtime_mutex());
  if (from->state->reached == 0 || to->state->reached == 0)
    return report(cudaErrorInvalidResourceHandle);
  const std::chrono::duration<float, std::milli> elapsed = to->state->when - from->state->when;
  *milliseconds = elapsed.count();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  const Lock lock(runtime_mutex());
  if (stream == nullptr) return report(cudaErrorStreamCaptureUnsupported);
  if (stream->capture != nullptr) return report(cudaErrorInvalidValue);
  stream->capture = std::make_unique<Capture>();
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const Lock lock(runtime_mutex());
  if (!is_capturing(stream)) return report(cudaErrorInvalidValue);
  const std::unique_ptr<Capture> capture = std::move(stream->capture);
  *graph = nullptr;
  if (capture->invalid) return report(cudaErrorStreamCaptureInvalidated);
  *graph = new CUgraph_st{std::move(capture->nodes)};
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const Lock lock(runtime_mutex());
  *status = !is_capturing(stream)      ? cudaStreamCaptureStatusNone
            : stream->capture->invalid ? cudaStreamCaptureStatusInvalidated
                                       : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec =
      new CUgraphExec_st{std::make_shared<const std::vector<std::function<void()>>>(graph->nodes)};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  const Lock lock(runtime_mutex());
  return queue(stream, [nodes = exec->nodes] {
    for (const std::function<void()>& node : *nodes) node();
  });
}

cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) { return cudaSuccess; }

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* count) {
  *count = graph->nodes.size();
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}
