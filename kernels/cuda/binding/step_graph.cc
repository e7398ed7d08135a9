#include "cuda/binding/step_graph.h"

#include "cuda/binding/error.h"
#include "cuda/binding/wrong_ids.h"

namespace llmkit::cuda {

StepGraph::Ring::Ring(size_t rows) {
  void* data = nullptr;
  // Mapped: the step's last kernel writes to it, and no copy has to be queued.
  check(cudaHostAlloc(&data, kSlots * rows * sizeof(int32_t), cudaHostAllocMapped), "newStep");
  tokens = static_cast<int32_t*>(data);
}

StepGraph::Ring::~Ring() { cudaFreeHost(tokens); }

StepGraph::Event::Event() {
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "newStep");
}

StepGraph::Event::~Event() { cudaEventDestroy(event); }

StepGraph::StepGraph(size_t rows)
    : rows_(rows), arena_(std::make_shared<BlockPool>(BlockPool::Kind::kArena)), ring_(rows) {}

StepGraph::~StepGraph() {
  // Nothing may be under way that writes to the ring or to the arena.
  cudaStreamSynchronize(stream());
  if (graph_ != nullptr) cudaGraphExecDestroy(graph_);
}

void StepGraph::begin_capture() {
  check(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeThreadLocal), "captureStep");
}

void StepGraph::end_capture() {
  cudaGraph_t recorded = nullptr;
  check(cudaStreamEndCapture(stream(), &recorded), "captureStep");
  if (graph_ != nullptr) cudaGraphExecDestroy(graph_);
  graph_ = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&graph_, recorded, 0);
  cudaGraphDestroy(recorded);
  check(error, "captureStep");
}

void StepGraph::replay() {
  if (graph_ == nullptr) throw Error(kDeviceCode, "replayStep: nothing has been recorded");
  check(cudaGraphLaunch(graph_, stream()), "replayStep");
  mark_run();
}

void StepGraph::mark_run() {
  if (runs_ - read_ == kSlots) throw Error(kDeviceCode, "replayStep: too many runs are unread");
  check(cudaEventRecord(done_[runs_ % kSlots].event, stream()), "replayStep");
  ++runs_;
}

const int32_t* StepGraph::read() {
  if (runs_ == read_) throw Error(kDeviceCode, "readStep: no run is under way");
  const size_t slot = read_ % kSlots;
  check(cudaEventSynchronize(done_[slot].event), "readStep");
  ++read_;
  check_ids();
  return ring_.tokens + slot * rows_;
}

void StepGraph::restart() { runs_ = read_ = 0; }

}  // namespace llmkit::cuda
